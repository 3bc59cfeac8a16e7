"""A program that writes the Keras files and SavedModels that the tests bring in and convert.

Started as `python build_keras.py FOLDER`, in an environment with TensorFlow.
"""

import sys
from pathlib import Path

import tensorflow as tf


class Two(tf.Module):  # type: ignore[misc]  # TensorFlow has no types where checks run
    """Two inputs and two outputs of different types."""

    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])

    def answer(self, x: tf.Tensor, n: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"product": x @ self.w, "twice": n * 2}


class Strings(tf.Module):  # type: ignore[misc]
    """Operations that ONNX knows nothing of."""

    def answer(self, s: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"bucket": tf.strings.to_hash_bucket_fast(s, 10)}


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    layers = tf.keras.layers
    image = tf.keras.Input((8, 8, 1), name="image")
    flat = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(image))
    digits = tf.keras.Model(image, layers.Dense(10, activation="softmax", name="scores")(flat))
    digits.save(str(folder / "digits.keras"))
    digits.save(str(folder / "digits.h5"))
    doubling = tf.keras.Sequential([tf.keras.Input((3,)), layers.Lambda(lambda x: x * 2)])
    doubling.save(str(folder / "lambda.keras"))
    doubling.save(str(folder / "lambda.h5"))
    x, n = tf.TensorSpec([None, 4], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "n")
    save(Two(), folder / "two", x, n)
    save(Strings(), folder / "strings", tf.TensorSpec([None], tf.string, "s"))


def save(module: Two | Strings, folder: Path, *inputs: tf.TensorSpec) -> None:
    answer = tf.function(module.answer).get_concrete_function(*inputs)
    tf.saved_model.save(module, str(folder), signatures=answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
