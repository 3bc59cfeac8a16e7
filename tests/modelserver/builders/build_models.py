"""Build the SavedModels that the model server's tests serve. Run with a Python that has TensorFlow.

python build_models.py FOLDER
"""

import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2


class Line(tf.Module):  # type: ignore[misc]  # TensorFlow has no types where checks run
    """y = slope * x + offset."""

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.slope = tf.Variable(slope)
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(self, x):
        return {"y": self.slope * x + self.offset}


class Zoo(tf.Module):  # type: ignore[misc]  # TensorFlow has no types where checks run
    """One signature for each thing that JSON can do to a tensor."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def double(self, x):
        return {"y": x * 2}

    @tf.function(
        input_signature=[
            tf.TensorSpec(None, tf.float32, name="a"),
            tf.TensorSpec(None, tf.int32, name="b"),
        ]
    )
    def two(self, a, b):
        return {"sum": a + tf.cast(b, tf.float32), "negative": -b}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.string, name="s")])
    def strings(self, s):
        return {"text": tf.strings.upper(s), "raw_bytes": s}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def examples(self, examples):
        features = {"age": tf.io.FixedLenFeature([1], tf.float32)}
        return {"age": tf.io.parse_example(examples, features)["age"] * 10}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def uneven(self, x):
        return {"all": x, "rest": x[1:]}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def to_half(self, x):
        return {"y": tf.cast(x, tf.float16)}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def strict(self, x):
        return {"y": tf.matmul(x, tf.ones([2, 1]))}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="turns")])
    def spin(self, turns):
        return {"turns": tf.while_loop(lambda i: i < turns, lambda i: [i + 1], [0])[0]}

    @tf.function(input_signature=[])
    def nothing(self):
        return {"one": tf.constant([1.0])}


ECHOED = {
    "float": tf.float32,
    "double": tf.float64,
    "int8": tf.int8,
    "int16": tf.int16,
    "int32": tf.int32,
    "int64": tf.int64,
    "uint8": tf.uint8,
    "uint16": tf.uint16,
    "uint32": tf.uint32,
    "uint64": tf.uint64,
    "bool": tf.bool,
    "half": tf.float16,
    "string": tf.string,
}


def echo(dtype: tf.DType) -> tf.types.experimental.ConcreteFunction:
    """Return the input back, as another tensor of the same type and any shape."""

    @tf.function(input_signature=[tf.TensorSpec(None, dtype, name="x")])
    def same(x):
        return {"y": tf.concat([tf.reshape(x, [-1]), tf.reshape(x, [-1])], 0)}

    @tf.function(input_signature=[tf.TensorSpec(None, dtype, name="x")])
    def reshaped(x):
        return {"y": tf.reshape(same(x)["y"][: tf.size(x)], tf.shape(x))}

    return reshaped


class Counter(tf.Module):  # type: ignore[misc]  # TensorFlow has no types where checks run
    """A model that is asked nothing and knows how often."""

    def __init__(self) -> None:
        super().__init__()
        self.count = tf.Variable(0)

    @tf.function(input_signature=[])
    def increase(self):
        return {"count": self.count.assign_add(1)}


class Bare(tf.Module):  # type: ignore[misc]  # TensorFlow has no types where checks run
    """A model with nothing to call."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(1.0)


def break_graph(version: Path) -> None:
    """Have the graph use an operation that doesn't exist."""
    file = version / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    graph = saved_model.meta_graphs[0].graph_def
    graph.node.add(name="odd", op="NoSuchOperation")
    file.write_bytes(saved_model.SerializeToString())


def add_warm_up(version: Path, input_name: str = "") -> None:
    """Write two recorded predict requests, as a client's log would hold them."""
    extra = version / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for value in (1.0, 2.0):
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = "serving_default"
            if input_name:
                request.inputs[input_name].CopyFrom(tf.make_tensor_proto([value], tf.float32))
            writer.write(log.SerializeToString())


def build(folder: Path) -> None:
    """Write every model below the folder."""
    for version, offset in ((1, 2.0), (2, 3.0)):
        line = Line(0.5, offset)
        tf.saved_model.save(line, str(folder / "line" / str(version)), signatures=line.predict)
    for name, input_name in (("warm", "x"), ("badly-warmed", "z")):
        line = Line(0.5, 2.0)
        tf.saved_model.save(line, str(folder / name / "1"), signatures=line.predict)
        add_warm_up(folder / name / "1", input_name)
    counter = Counter()
    tf.saved_model.save(counter, str(folder / "counter" / "1"), signatures=counter.increase)
    add_warm_up(folder / "counter" / "1")
    tf.saved_model.save(Bare(), str(folder / "bare" / "1"))
    line = Line(0.5, 2.0)
    tf.saved_model.save(line, str(folder / "odd" / "1"), signatures=line.predict)
    break_graph(folder / "odd" / "1")
    zoo = Zoo()
    signatures = {
        "serving_default": zoo.double,
        "two": zoo.two,
        "strings": zoo.strings,
        "examples": zoo.examples,
        "total": zoo.total,
        "uneven": zoo.uneven,
        "to_half": zoo.to_half,
        "strict": zoo.strict,
        "spin": zoo.spin,
        "nothing": zoo.nothing,
    } | {f"echo_{name}": echo(dtype) for name, dtype in ECHOED.items()}
    tf.saved_model.save(zoo, str(folder / "zoo" / "3"), signatures=signatures)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
