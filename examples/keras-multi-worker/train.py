"""Train one Keras model on several workers with MultiWorkerMirroredStrategy.

Every worker runs this same script. The platform tells each its place in TF_CONFIG.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=32, help="per worker")
    parser.add_argument("--learning-rate", type=float, default=0.005)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--first-layer-neurons", type=int, default=64)
    parser.add_argument("--second-layer-neurons", type=int, default=32)
    return parser.parse_args()


def build_model(args: argparse.Namespace) -> tf.keras.Model:
    # The model scales its own input, so a service takes pixels as they are: 64 numbers, 0 to 16.
    layers = [
        tf.keras.Input((64,), name="pixels"),
        tf.keras.layers.Rescaling(1 / 16),
        tf.keras.layers.Dense(args.first_layer_neurons, activation="relu"),
        tf.keras.layers.Dense(args.second_layer_neurons, activation="relu"),
        tf.keras.layers.Dense(10, activation="softmax", name="probabilities"),
    ]
    model = tf.keras.Sequential(layers)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(args.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def sharded(dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Return each worker its own part of every batch."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.batch(batch_size, drop_remainder=True).with_options(options)


def checksum(model: tf.keras.Model) -> str:
    """Name the model's weights by their digest: workers in step have the same."""
    weights = b"".join(weight.tobytes() for weight in model.get_weights())
    return hashlib.sha256(weights).hexdigest()[:16]


def main() -> None:
    args = parse_arguments()
    # Before any other TensorFlow call: the strategy starts this worker's server.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    resolver = strategy.cluster_resolver
    index = resolver.task_id or 0
    is_first = index == 0 and resolver.task_type in (None, "worker", "chief")
    replicas = strategy.num_replicas_in_sync
    print(f"worker {index}: {replicas} replicas in sync", flush=True)

    pixels, digits = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32"), digits, test_size=0.2, random_state=0
    )
    global_batch_size = args.batch_size * replicas
    training = tf.data.Dataset.from_tensor_slices((x_train, y_train)).shuffle(2000, seed=0)
    testing = tf.data.Dataset.from_tensor_slices((x_test, y_test))

    with strategy.scope():
        model = build_model(args)
    model.fit(
        sharded(training.repeat(), global_batch_size),
        epochs=args.epochs,
        steps_per_epoch=len(x_train) // global_batch_size,
        callbacks=[tf.keras.callbacks.TensorBoard("logs", write_graph=False)],
        verbose=2 if is_first else 0,
    )
    _, accuracy = model.evaluate(sharded(testing, args.batch_size), verbose=0)
    print(f"worker {index}: test accuracy {accuracy:.4f}", flush=True)
    print(f"worker {index}: weights checksum {checksum(model)}", flush=True)

    # Saving is a joint step, so every worker takes part, but one copy is enough.
    if is_first:
        model.export("outputs/digits")
        print("model saved in outputs/digits", flush=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            model.export(str(Path(folder) / "digits"))


if __name__ == "__main__":
    main()
