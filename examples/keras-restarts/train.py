"""Train on several workers, and go on from the last epoch when a machine fails.

BackupAndRestore keeps the state of training in TRAINYARD_CHECKPOINT_DIR, which outlives a restart.
"""

import argparse
import os
from pathlib import Path

import tensorflow as tf
from sklearn.datasets import load_digits

WEIGHTS = "digits.weights.h5"


class TellEpochs(tf.keras.callbacks.Callback):
    """Print the epoch that begins, which shows where training goes on."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self._index = index

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        print(f"worker {self._index}: epoch {epoch + 1} begins", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=32, help="per worker")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--resume-from", type=Path, help="the outputs of an earlier run")
    return parser.parse_args()


def build_model() -> tf.keras.Model:
    model = tf.keras.Sequential(
        [
            tf.keras.Input((64,), name="pixels"),
            tf.keras.layers.Rescaling(1 / 16),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    model.compile(
        optimizer=tf.keras.optimizers.Adam(0.005),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    args = parse_arguments()
    # Before any other TensorFlow call: the strategy starts this worker's server.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    resolver = strategy.cluster_resolver
    index = resolver.task_id or 0
    is_first = index == 0 and resolver.task_type in (None, "worker", "chief")

    pixels, digits = load_digits(return_X_y=True)
    batch_size = args.batch_size * strategy.num_replicas_in_sync
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    dataset = tf.data.Dataset.from_tensor_slices((pixels.astype("float32"), digits))
    dataset = dataset.shuffle(2000, seed=0).repeat().batch(batch_size).with_options(options)

    with strategy.scope():
        model = build_model()
        if args.resume_from:
            model.load_weights(args.resume_from / WEIGHTS)
            print(f"worker {index}: resumed from an earlier run's weights", flush=True)
    history = model.fit(
        dataset,
        epochs=args.epochs,
        steps_per_epoch=len(pixels) // batch_size,
        callbacks=[
            tf.keras.callbacks.BackupAndRestore(os.environ["TRAINYARD_CHECKPOINT_DIR"]),
            TellEpochs(index),
        ],
        verbose=2 if is_first else 0,
    )
    print(f"worker {index}: trained {len(history.epoch)} epochs in this attempt", flush=True)
    # Saving is a joint step, so every worker takes part, but one copy is enough.
    folder = Path("outputs") if is_first else Path("scratch")
    folder.mkdir(exist_ok=True)
    model.save_weights(folder / WEIGHTS)
    model.export(str(folder / "digits"))


if __name__ == "__main__":
    main()
