"""Train a LinearClassifier with tf.estimator.train_and_evaluate.

Alone, or as chief, workers, parameter servers and evaluator when TF_CONFIG says so.
"""

import argparse
import logging
import os

import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    # Workers join 5 seconds after the chief, so a short training would be over by then.
    parser.add_argument("--steps", type=int, default=3000)
    # Chief and evaluator exchange checkpoints, so all processes must see the same folder.
    shared = os.environ.get("TRAINYARD_CHECKPOINT_DIR", "checkpoints")
    parser.add_argument("--model-dir", default=shared)
    return parser.parse_args()


class Progress(tf.estimator.SessionRunHook):
    """Write the loss to ./logs as the training goes on, and count the steps done here."""

    def __init__(self, name: str, every: int) -> None:
        self.name = name
        self.every = every
        self.steps_here = 0

    def begin(self) -> None:
        self.writer = tf.compat.v1.summary.FileWriter("logs")
        self.summaries = tf.compat.v1.summary.merge_all()
        self.global_step = tf.compat.v1.train.get_or_create_global_step()

    def before_run(self, context: object) -> tf.estimator.SessionRunArgs:
        return tf.estimator.SessionRunArgs((self.global_step, self.summaries))

    def after_run(self, context: object, values: tf.estimator.SessionRunValues) -> None:
        self.steps_here += 1
        if self.steps_here % self.every == 0:
            global_step, summaries = values.results
            self.writer.add_summary(summaries, global_step)
            self.writer.flush()

    def end(self, session: tf.compat.v1.Session) -> None:
        self.writer.close()
        print(f"{self.name}: did {self.steps_here} steps", flush=True)


def main() -> None:
    args = parse_arguments()
    logger = tf.get_logger()
    logger.setLevel(logging.INFO)
    # All of tf.estimator is deprecated, and says so at every call.
    logger.addFilter(lambda record: "is deprecated" not in record.getMessage())

    pixels, digits = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32"), digits, test_size=0.2, random_state=0
    )

    def training() -> tf.data.Dataset:
        dataset = tf.data.Dataset.from_tensor_slices(({"pixels": x_train}, y_train))
        return dataset.shuffle(2000).repeat().batch(args.batch_size)

    def testing() -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(({"pixels": x_test}, y_test)).batch(len(x_test))

    column = tf.feature_column.numeric_column(
        "pixels", shape=(64,), normalizer_fn=lambda pixels: pixels / 16
    )
    config = tf.estimator.RunConfig(args.model_dir, save_checkpoints_steps=1000)
    estimator = tf.estimator.LinearClassifier(
        feature_columns=[column],
        n_classes=10,
        optimizer=lambda: tf.keras.optimizers.legacy.Ftrl(args.learning_rate),
        config=config,
    )
    name = f"{config.task_type} {config.task_id}"
    print(f"{name}: model folder {estimator.model_dir}", flush=True)
    hooks = [Progress(name, every=25)]
    tf.estimator.train_and_evaluate(
        estimator,
        tf.estimator.TrainSpec(training, max_steps=args.steps, hooks=hooks),
        tf.estimator.EvalSpec(testing, steps=1, start_delay_secs=0, throttle_secs=1),
    )
    print(f"{name}: training is over", flush=True)

    if config.is_chief:
        accuracy = estimator.evaluate(testing)["accuracy"]
        print(f"test accuracy {accuracy:.4f}", flush=True)
        # The service takes serialized tf.Example messages; the folder gets a number for a name.
        specification = tf.feature_column.make_parse_example_spec([column])
        receiver = tf.estimator.export.build_parsing_serving_input_receiver_fn(specification)
        folder = estimator.export_saved_model("outputs/digits", receiver)
        print(f"model saved in {folder.decode()}", flush=True)


if __name__ == "__main__":
    main()
