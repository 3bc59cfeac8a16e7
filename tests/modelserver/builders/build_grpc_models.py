"""Build SavedModels for what only gRPC can carry.

python build_grpc_models.py FOLDER, with a Python that has TensorFlow.
"""

import sys
from pathlib import Path

import tensorflow as tf


class Types(tf.Module):  # type: ignore[misc]  # TensorFlow has no types where checks run
    """Signatures with types that JSON has no words for, without inputs, and with a memory."""

    def __init__(self) -> None:
        super().__init__()
        self.count = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[])
    def counter(self):
        return {"count": self.count.assign_add(1)}


def echo(dtype: tf.DType) -> tf.types.experimental.ConcreteFunction:
    """Return the input back through a reshape, as any shape."""

    @tf.function(input_signature=[tf.TensorSpec(None, dtype, name="x")])
    def same(x):
        return {"y": tf.reshape(tf.reshape(x, [-1]), tf.shape(x))}

    return same


def save_halves(version: Path) -> None:
    """Save a graph of TensorFlow 1: one output works, the other one refuses what isn't positive."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        with tf.control_dependencies([v1.assert_positive(x, message="x must be positive")]):
            strict = tf.identity(x)
        v1.saved_model.simple_save(
            session, str(version), {"x": x}, {"lenient": x + 1, "strict": strict}
        )


def build(folder: Path) -> None:
    """Write every model below the folder."""
    types = Types()
    signatures = {"counter": types.counter} | {
        f"echo_{dtype.name}": echo(dtype) for dtype in (tf.bfloat16, tf.complex64, tf.complex128)
    }
    tf.saved_model.save(types, str(folder / "types" / "1"), signatures=signatures)
    save_halves(folder / "halves" / "1")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
