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


def varied() -> tf.keras.Model:
    """Return a model whose configuration nests in many ways, compiled with a loss of its own."""
    layers = tf.keras.layers
    words = tf.keras.Input((5,), dtype="string", name="words")
    numbers = layers.StringLookup(vocabulary=["a", "b"])(words)
    embedded = layers.Embedding(4, 8, embeddings_regularizer="l2")(numbers)
    ranked = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(embedded)
    seen = layers.MultiHeadAttention(2, 4)(ranked, ranked)
    squeezed = layers.TimeDistributed(layers.Dense(3, activation=tf.keras.activations.gelu))(seen)
    inner = tf.keras.Sequential(
        [
            tf.keras.Input((5, 3)),
            layers.GlobalAveragePooling1D(),
            layers.Dense(
                2,
                activation="softmax",
                kernel_initializer=tf.keras.initializers.HeNormal(),
                kernel_constraint=tf.keras.constraints.MaxNorm(2.0),
            ),
        ]
    )
    scores = inner(squeezed + 1.0) * 2.0
    model = tf.keras.Model(words, scores[:, 0])
    model.compile("adam", loss=lambda expected, found: expected - found)
    return model


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
    # It reads and writes what lies above the converter's own folder: the installation's home.
    reach_out = layers.Lambda(
        lambda x: (
            __import__("os").system(
                'cat "$HOME/../../../../secret_key"; touch "$HOME/../../../../pwned"'
            ),
            x * 2,
        )[1]
    )
    reaching = tf.keras.Sequential([tf.keras.Input((3,)), reach_out])
    reaching.save(str(folder / "reaching.keras"))
    varied().save(str(folder / "varied.keras"))
    x, n = tf.TensorSpec([None, 4], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "n")
    save(Two(), folder / "two", x, n)
    save(Strings(), folder / "strings", tf.TensorSpec([None], tf.string, "s"))


def save(module: Two | Strings, folder: Path, *inputs: tf.TensorSpec) -> None:
    answer = tf.function(module.answer).get_concrete_function(*inputs)
    tf.saved_model.save(module, str(folder), signatures=answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
