"""Train one Keras model with Horovod: every rank learns from its own part of the digits."""

import argparse
import hashlib

import horovod.tensorflow.keras as hvd
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=32, help="per rank")
    parser.add_argument("--learning-rate", type=float, default=0.002)
    parser.add_argument("--epochs", type=int, default=10)
    return parser.parse_args()


def build_model(learning_rate: float) -> tf.keras.Model:
    # The model scales its own input, so a service takes pixels as they are: 64 numbers, 0 to 16.
    layers = [
        tf.keras.Input((64,), name="pixels"),
        tf.keras.layers.Rescaling(1 / 16),
        tf.keras.layers.Dense(64, activation="relu"),
        tf.keras.layers.Dense(10, activation="softmax", name="probabilities"),
    ]
    model = tf.keras.Sequential(layers)
    model.compile(
        optimizer=hvd.DistributedOptimizer(
            tf.keras.optimizers.legacy.Adam(learning_rate * hvd.size())
        ),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def checksum(model: tf.keras.Model) -> str:
    """Name the model's weights by their digest: ranks in step have the same."""
    weights = b"".join(weight.tobytes() for weight in model.get_weights())
    return hashlib.sha256(weights).hexdigest()[:16]


def main() -> None:
    args = parse_arguments()
    hvd.init()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[hvd.local_rank()], "GPU")
    print(f"rank {hvd.rank()} of {hvd.size()}", flush=True)

    pixels, digits = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32"), digits, test_size=0.2, random_state=0
    )
    batches = len(x_train) // (args.batch_size * hvd.size())
    training = (
        tf.data.Dataset.from_tensor_slices((x_train, y_train))
        .shard(hvd.size(), hvd.rank())
        .shuffle(2000, seed=hvd.rank())
        .repeat()
        .batch(args.batch_size)
    )
    callbacks = [
        hvd.callbacks.BroadcastGlobalVariablesCallback(0),
        hvd.callbacks.MetricAverageCallback(),
    ]
    # One rank writes logs and files: all of a node share a working directory.
    if hvd.rank() == 0:
        callbacks.append(tf.keras.callbacks.TensorBoard("logs", write_graph=False))
    model = build_model(args.learning_rate)
    model.fit(
        training,
        epochs=args.epochs,
        steps_per_epoch=batches,
        callbacks=callbacks,
        verbose=2 if hvd.rank() == 0 else 0,
    )
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"rank {hvd.rank()}: test accuracy {accuracy:.4f}", flush=True)
    print(f"rank {hvd.rank()}: weights checksum {checksum(model)}", flush=True)
    if hvd.rank() == 0:
        model.export("outputs/digits")
        print("model saved in outputs/digits", flush=True)


if __name__ == "__main__":
    main()
