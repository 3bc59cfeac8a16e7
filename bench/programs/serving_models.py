"""Write SavedModels below a folder: a small one, and one whose matrix products take their time."""

import sys
from itertools import pairwise
from pathlib import Path

import tensorflow as tf

WIDTH, LAYERS = 2048, 4


class Half(tf.Module):
    """y = x / 2 + 2."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def predict(self, x):
        return {"y": x / 2 + 2}


class Wide(tf.Module):
    """Four layers of 2,048; a run of one row reads as many weights as one of many rows."""

    def __init__(self):
        super().__init__()
        generator = tf.random.Generator.from_seed(1)
        sizes = [16] + [WIDTH] * LAYERS + [4]
        self.weights = [
            tf.Variable(generator.normal([rows, columns]) / rows**0.5)
            for rows, columns in pairwise(sizes)
        ]

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32, name="x")])
    def predict(self, x):
        for weights in self.weights[:-1]:
            x = tf.nn.relu(x @ weights)
        return {"y": x @ self.weights[-1]}


folder = Path(sys.argv[1])
for name, model in (("half", Half()), ("wide", Wide())):
    tf.saved_model.save(model, str(folder / name / "1"), signatures=model.predict)
