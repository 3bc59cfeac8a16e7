"""Train a small network on all workers step by step; say how many steps a second."""

import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

STEPS = int(sys.argv[sys.argv.index("--steps") + 1])
tf.config.threading.set_intra_op_parallelism_threads(1)
strategy = tf.distribute.MultiWorkerMirroredStrategy()
images = tf.random.stateless_normal([256, 784], [1, 1])
labels = tf.random.stateless_uniform([256], [1, 2], maxval=10, dtype=tf.int32)
with strategy.scope():
    hidden = tf.Variable(tf.random.stateless_normal([784, 256], [1, 3]) * 0.05)
    output = tf.Variable(tf.random.stateless_normal([256, 10], [1, 4]) * 0.05)


def replica_step():
    with tf.GradientTape() as tape:
        logits = tf.nn.relu(images @ hidden) @ output
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, [hidden, output])
    context = tf.distribute.get_replica_context()
    for variable, gradient in zip([hidden, output], gradients, strict=True):
        mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, gradient)
        variable.assign_sub(0.01 * mean)
    return loss


@tf.function
def step():
    return strategy.run(replica_step)


step()
print("first step", flush=True)
for _ in range(20):
    step()
began = time.monotonic()
for _ in range(STEPS):
    step()
print(f"steps/s {STEPS / (time.monotonic() - began):.3f}", flush=True)
