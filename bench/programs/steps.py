"""Train a small network step by step, say how many steps a second, and export a small model."""

import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

STEPS = int(sys.argv[sys.argv.index("--steps") + 1])
LOG_EVERY = 20
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.random.set_seed(1)
images, labels = tf.random.normal([256, 784]), tf.random.uniform([256], maxval=10, dtype=tf.int32)
hidden = tf.Variable(tf.random.normal([784, 256], stddev=0.05))
output = tf.Variable(tf.random.normal([256, 10], stddev=0.05))


@tf.function
def step():
    with tf.GradientTape() as tape:
        logits = tf.nn.relu(images @ hidden) @ output
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    for_hidden, for_output = tape.gradient(loss, [hidden, output])
    hidden.assign_sub(0.01 * for_hidden)
    output.assign_sub(0.01 * for_output)
    return loss


for _ in range(50):
    step()
began = time.monotonic()
for number in range(STEPS):
    loss = step()
    if number % LOG_EVERY == 0:
        print(f"step {number} loss {float(loss):.4f}", flush=True)
float(loss)
print(f"steps/s {STEPS / (time.monotonic() - began):.3f}", flush=True)


class Half(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": x / 2 + 2}


half = Half()
tf.saved_model.save(half, "outputs/half", signatures={"serving_default": half.__call__})
