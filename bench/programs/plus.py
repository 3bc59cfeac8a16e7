"""Export a model that adds a number to what it is given."""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

NUMBER = float(sys.argv[sys.argv.index("--number") + 1])


class Plus(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": x + NUMBER}


plus = Plus()
tf.saved_model.save(plus, "outputs/plus", signatures={"serving_default": plus.__call__})
