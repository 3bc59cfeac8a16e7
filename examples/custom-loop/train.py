"""Train on several workers with a training loop of our own: strategy.run, no fit.

Every worker runs this same script. The platform tells each its place in TF_CONFIG.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Network(tf.Module):
    """Two dense layers that take the pixels as they are: 64 numbers, 0 to 16."""

    def __init__(self, neurons: int) -> None:
        super().__init__()
        draw = tf.random.stateless_normal
        self.w1 = tf.Variable(draw((64, neurons), seed=(1, 0)) * 0.18, name="w1")
        self.b1 = tf.Variable(tf.zeros(neurons), name="b1")
        self.w2 = tf.Variable(draw((neurons, 10), seed=(2, 0)) * 0.18, name="w2")
        self.b2 = tf.Variable(tf.zeros(10), name="b2")

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(pixels / 16 @ self.w1 + self.b1) @ self.w2 + self.b2

    @tf.function(input_signature=[tf.TensorSpec((None, 64), tf.float32, name="pixels")])
    def serve(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(self.logits(pixels))
        return {"digit": tf.argmax(probabilities, axis=1), "probabilities": probabilities}

    def checksum(self) -> str:
        """Name the weights by their digest: workers in step have the same."""
        weights = b"".join(variable.numpy().tobytes() for variable in self.trainable_variables)
        return hashlib.sha256(weights).hexdigest()[:16]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=32, help="per worker")
    parser.add_argument("--learning-rate", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--first-layer-neurons", type=int, default=64)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    # Before any other TensorFlow call: the strategy starts this worker's server.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    index = strategy.cluster_resolver.task_id or 0
    replicas = strategy.num_replicas_in_sync
    print(f"worker {index}: {replicas} replicas in sync", flush=True)

    pixels, digits = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32"), digits.astype("int64"), test_size=0.2, random_state=0
    )
    global_batch_size = args.batch_size * replicas
    steps_per_epoch = len(x_train) // global_batch_size

    def shard(context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Read every n-th digit, where n is the number of workers."""
        dataset = tf.data.Dataset.from_tensor_slices((x_train, y_train))
        dataset = dataset.shard(context.num_input_pipelines, context.input_pipeline_id)
        batch_size = context.get_per_replica_batch_size(global_batch_size)
        return dataset.shuffle(2000, seed=0).repeat().batch(batch_size).prefetch(1)

    with strategy.scope():
        network = Network(args.first_layer_neurons)
    batches = iter(strategy.distribute_datasets_from_function(shard))

    def update(values: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        pixels, digits = values
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(digits, network.logits(pixels))
            # The sum over all workers is the mean over the global batch.
            loss = tf.nn.compute_average_loss(losses, global_batch_size=global_batch_size)
        variables = network.trainable_variables
        gradients = tape.gradient(loss, variables)
        context = tf.distribute.get_replica_context()
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(args.learning_rate * gradient)
        return loss

    @tf.function
    def train_epoch() -> tf.Tensor:
        total = tf.constant(0.0)
        for _ in tf.range(steps_per_epoch):
            losses = strategy.run(update, args=(next(batches),))
            total += strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)
        return total / tf.cast(steps_per_epoch, tf.float32)

    # Every worker computes the same figures, so one is enough to write them down.
    writer = (
        tf.summary.create_file_writer("logs") if index == 0 else tf.summary.create_noop_writer()
    )
    with writer.as_default():
        for epoch in range(1, args.epochs + 1):
            loss = float(train_epoch())
            guesses = tf.argmax(network.logits(x_test), axis=1)
            accuracy = float(tf.reduce_mean(tf.cast(guesses == y_test, tf.float32)))
            tf.summary.scalar("loss", loss, step=epoch)
            tf.summary.scalar("accuracy", accuracy, step=epoch)
            writer.flush()
            figures = f"loss {loss:.4f}, accuracy {accuracy:.4f}"
            print(f"worker {index}: epoch {epoch}/{args.epochs}, {figures}", flush=True)
    print(f"worker {index}: weights checksum {network.checksum()}", flush=True)

    # Saving is a joint step, so every worker takes part, but one copy is enough.
    if index == 0:
        tf.saved_model.save(network, "outputs/digits", signatures=network.serve)
        print("model saved in outputs/digits", flush=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(network, str(Path(folder) / "digits"), signatures=network.serve)


if __name__ == "__main__":
    main()
