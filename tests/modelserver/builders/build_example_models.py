"""Build SavedModels that take tf.Examples, and those that batching is tried on.

python build_example_models.py FOLDER, with a Python that has TensorFlow.
"""

import sys
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

EXAMPLES = [tf.TensorSpec([None], tf.string, name="inputs")]


class Flowers(tf.Module):  # type: ignore[misc]  # TensorFlow has no types where checks run
    """Signatures that classify and regress, and some that only nearly do."""

    def parse(self, inputs):
        return tf.io.parse_example(
            inputs,
            {
                "size": tf.io.FixedLenFeature([], tf.float32),
                "count": tf.io.FixedLenFeature([], tf.int64, default_value=1),
                "color": tf.io.FixedLenFeature([], tf.string, default_value=b"red"),
            },
        )

    def scores_of(self, inputs):
        size = self.parse(inputs)["size"]
        return tf.stack([size, 1 - size], axis=1)

    def classes_of(self, inputs):
        color = self.parse(inputs)["color"]
        return tf.stack([color, tf.strings.upper(color)], axis=1)

    @tf.function(input_signature=EXAMPLES)
    def classify(self, inputs):
        return {"classes": self.classes_of(inputs), "scores": self.scores_of(inputs)}

    @tf.function(input_signature=EXAMPLES)
    def labels(self, inputs):
        return {"classes": self.classes_of(inputs)}

    @tf.function(input_signature=EXAMPLES)
    def scores(self, inputs):
        return {"scores": self.scores_of(inputs)}

    @tf.function(input_signature=EXAMPLES)
    def regress(self, inputs):
        features = self.parse(inputs)
        value = features["size"] * tf.cast(features["count"], tf.float32)
        return {"outputs": value[:, tf.newaxis]}

    @tf.function(input_signature=EXAMPLES)
    def regress_flat(self, inputs):
        return {"outputs": self.parse(inputs)["size"]}

    @tf.function(input_signature=EXAMPLES)
    def wide(self, inputs):
        return {"outputs": self.scores_of(inputs)}

    @tf.function(input_signature=EXAMPLES)
    def precise(self, inputs):
        return {"scores": tf.cast(self.scores_of(inputs), tf.float64)}

    @tf.function(input_signature=EXAMPLES)
    def flat(self, inputs):
        return {"scores": self.parse(inputs)["size"]}

    @tf.function(input_signature=EXAMPLES)
    def first(self, inputs):
        return {"scores": self.scores_of(inputs)[:1]}

    @tf.function(input_signature=EXAMPLES)
    def other(self, inputs):
        return {"other": self.scores_of(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def unnamed(self, x):
        return {"scores": self.scores_of(x)}

    @tf.function(input_signature=EXAMPLES)
    def three(self, inputs):
        scores = self.scores_of(inputs)
        return {"scores": scores, "more": scores + 1, "most": scores + 2}


class Gathered(tf.Module):  # type: ignore[misc]  # TensorFlow has no types where checks run
    """Signatures that show which batch they ran in."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def rows(self, x):
        count = tf.shape(x)[0]
        return {"sum": tf.reduce_sum(x, axis=1), "batch": tf.fill([count], count)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="s")])
    def numbers(self, s):
        return {"number": tf.strings.to_number(s)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="a"),
            tf.TensorSpec([None], tf.float32, name="b"),
        ]
    )
    def pair(self, a, b):
        return {"sum": tf.concat([a, b], 0)[: tf.size(a)]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def one(self, x):
        return {"one": x[:1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="turns")])
    def spin(self, turns):
        most = tf.reduce_max(turns)
        end = tf.while_loop(lambda i: i < most, lambda i: [i + 1], [0])[0]
        return {"turns": tf.fill(tf.shape(turns), end)}


def example(**features: tf.train.Feature) -> tf.train.Example:
    return tf.train.Example(features=tf.train.Features(feature=features))


def size_of(value: float) -> tf.train.Example:
    return example(size=tf.train.Feature(float_list=tf.train.FloatList(value=[value])))


def records() -> dict[str, list[prediction_log_pb2.PredictionLog]]:
    """Return logs of requests to the flowers, by what is to be seen with them."""
    regress = prediction_log_pb2.PredictionLog()
    regress.regress_log.request.model_spec.signature_name = "regress"
    regress.regress_log.request.input.example_list.examples.append(size_of(0.5))
    classify = prediction_log_pb2.PredictionLog()
    with_context = classify.classify_log.request.input.example_list_with_context
    with_context.context.CopyFrom(size_of(0.5))
    with_context.examples.append(example())
    predict = prediction_log_pb2.PredictionLog()
    tensor = tf.make_tensor_proto([size_of(0.5).SerializeToString()])
    predict.predict_log.request.inputs["inputs"].CopyFrom(tensor)
    multi = prediction_log_pb2.PredictionLog()
    request = multi.multi_inference_log.request
    for name, method in (("regress", "regress"), ("", "classify")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "flowers", name
    request.input.example_list.examples.append(size_of(0.5))
    refused = prediction_log_pb2.PredictionLog()
    refused.regress_log.request.model_spec.signature_name = "wide"
    refused.regress_log.request.input.example_list.examples.append(size_of(0.5))
    session_run = prediction_log_pb2.PredictionLog()
    session_run.session_run_log.SetInParent()
    return {
        "warm-all": [regress, classify, predict, multi, prediction_log_pb2.PredictionLog()],
        "warm-refused": [regress, refused],
        "warm-session": [session_run],
        "warm-too-often": [regress] * 1001,
    }


def build(folder: Path) -> None:
    """Write every model below the folder."""
    flowers = Flowers()
    names = (
        "classify labels scores regress regress_flat wide precise flat first other unnamed three"
    )
    signatures = {name: getattr(flowers, name) for name in names.split()}
    signatures["serving_default"] = flowers.classify
    tf.saved_model.save(flowers, str(folder / "flowers" / "1"), signatures=signatures)
    for name, logs in records().items():
        version = folder / name / "1"
        tf.saved_model.save(
            flowers,
            str(version),
            signatures={
                "serving_default": flowers.classify,
                "regress": flowers.regress,
                "wide": flowers.wide,
            },
        )
        (version / "assets.extra").mkdir()
        with tf.io.TFRecordWriter(
            str(version / "assets.extra" / "tf_serving_warmup_requests")
        ) as writer:
            for log in logs:
                writer.write(log.SerializeToString())
    gathered = Gathered()
    signatures = {
        name: getattr(gathered, name) for name in ("numbers", "pair", "total", "one", "spin")
    }
    signatures["serving_default"] = gathered.rows
    tf.saved_model.save(gathered, str(folder / "gathered" / "1"), signatures=signatures)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
