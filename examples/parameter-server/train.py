"""Train with TensorFlow 2's ParameterServerStrategy: chief, workers, parameter servers.

The chief hands out steps, the workers compute them, the parameter servers hold the weights.
"""

import argparse
import json
import os
from collections import Counter

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


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--first-layer-neurons", type=int, default=64)
    return parser.parse_args()


def train(
    args: argparse.Namespace, cluster: tf.distribute.cluster_resolver.ClusterResolver
) -> None:
    """Be the chief: schedule every step, then test and save the model."""
    strategy = tf.distribute.ParameterServerStrategy(cluster)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    workers = cluster.cluster_spec().num_tasks("worker")
    print(f"chief: workers connected: {workers}", flush=True)

    pixels, digits = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32"), digits.astype("int64"), test_size=0.2, random_state=0
    )

    with strategy.scope():
        network = Network(args.first_layer_neurons)
    for variable in network.trainable_variables:
        print(f"chief: {variable.name} lives on {variable.device}", flush=True)

    def read_digits() -> tf.data.Dataset:
        """Shuffle anew on each worker, under a name drawn there, which tells who did a step."""
        batches = tf.data.Dataset.from_tensor_slices((x_train, y_train)).shuffle(2000).repeat()
        names = tf.data.Dataset.range(1).map(
            lambda _: tf.random.uniform((), maxval=2**31 - 1, dtype=tf.int32)
        )
        return tf.data.Dataset.zip((batches.batch(args.batch_size), names.cache().repeat()))

    per_worker_batches = iter(coordinator.create_per_worker_dataset(read_digits))

    @tf.function
    def step(batches: tf.data.Iterator) -> tuple[tf.Tensor, tf.Tensor]:
        (pixels, digits), name = next(batches)

        def update(pixels: tf.Tensor, digits: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    digits, network.logits(pixels)
                )
                loss = tf.reduce_mean(losses)
            variables = network.trainable_variables
            for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
                variable.assign_sub(args.learning_rate * gradient)
            return loss

        return strategy.run(update, args=(pixels, digits)), name

    steps_by_worker: Counter[int] = Counter()
    with tf.summary.create_file_writer("logs").as_default() as writer:
        for epoch in range(1, args.epochs + 1):
            scheduled = [
                coordinator.schedule(step, args=(per_worker_batches,))
                for _ in range(len(x_train) // args.batch_size)
            ]
            coordinator.join()
            results = coordinator.fetch(scheduled)
            steps_by_worker.update(int(name) for _, name in results)
            loss = sum(float(loss) for loss, _ in results) / len(results)
            guesses = tf.argmax(network.logits(x_test), axis=1)
            accuracy = float(tf.reduce_mean(tf.cast(guesses == y_test, tf.float32)))
            tf.summary.scalar("loss", loss, step=epoch)
            tf.summary.scalar("accuracy", accuracy, step=epoch)
            writer.flush()
            print(
                f"epoch {epoch}/{args.epochs}: loss {loss:.4f}, accuracy {accuracy:.4f}", flush=True
            )
    print(f"chief: steps done by each worker: {sorted(steps_by_worker.values())}", flush=True)

    # The weights live on the parameter servers; the file is written here, from a copy.
    copy = Network(args.first_layer_neurons)
    for here, there in zip(copy.variables, network.variables, strict=True):
        here.assign(there)
    tf.saved_model.save(copy, "outputs/digits", signatures=copy.serve)
    print("model saved in outputs/digits", flush=True)


def cluster_from_environment() -> tf.distribute.cluster_resolver.SimpleClusterResolver:
    """Read TF_CONFIG; where it names no chief, worker 0 takes its place."""
    config = json.loads(os.environ["TF_CONFIG"])
    cluster = config["cluster"]
    role, index = config["task"]["type"], config["task"]["index"]
    if "chief" not in cluster:
        first, *others = cluster["worker"]
        cluster = {"chief": [first], "worker": others, "ps": cluster["ps"]}
        if role == "worker":
            role, index = ("chief", 0) if index == 0 else ("worker", index - 1)
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster), task_type=role, task_id=index, rpc_layer="grpc"
    )


def main() -> None:
    args = parse_arguments()
    cluster = cluster_from_environment()
    if cluster.task_type == "chief":
        train(args, cluster)
    else:
        print(f"{cluster.task_type} {cluster.task_id}: waiting for the chief's work", flush=True)
        server = tf.distribute.Server(
            cluster.cluster_spec(),
            job_name=cluster.task_type,
            task_index=cluster.task_id,
            protocol=cluster.rpc_layer,
        )
        server.join()


if __name__ == "__main__":
    main()
