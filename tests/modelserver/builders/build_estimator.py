"""Train two small estimators and export them as users of TensorFlow 2.15 do.

python build_estimator.py FOLDER
"""

import sys
import tempfile
from pathlib import Path

import tensorflow as tf

COLUMNS = [tf.feature_column.numeric_column("size")]


def build(folder: Path) -> None:
    """Write a classifier that knows large from small, and a regressor that doubles."""
    receiver = tf.estimator.export.build_parsing_serving_input_receiver_fn(
        tf.feature_column.make_parse_example_spec(COLUMNS)
    )

    def training(labels: list[object]):
        features = {"size": [[0.0], [1.0], [2.0], [3.0]]}
        return lambda: tf.data.Dataset.from_tensors((features, [[label] for label in labels]))

    kinds = {
        "classifier": (
            tf.estimator.LinearClassifier(
                COLUMNS,
                n_classes=2,
                label_vocabulary=["small", "large"],
                model_dir=tempfile.mkdtemp(),
            ),
            training(["small", "small", "large", "large"]),
        ),
        "regressor": (
            tf.estimator.LinearRegressor(COLUMNS, model_dir=tempfile.mkdtemp()),
            training([0.0, 2.0, 4.0, 6.0]),
        ),
    }
    for name, (estimator, data) in kinds.items():
        estimator.train(lambda data=data: data().repeat(), steps=200)
        exported = estimator.export_saved_model(str(folder / name), receiver)
        Path(exported.decode()).rename(folder / name / "1")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
