"""Call model servers with the stubs of tensorflow-serving-api, as told line by line in JSON.

python grpc_stubs.py, with a Python that has TensorFlow; `grpc_client.py` is the other side.
"""

import base64
import collections
import json
import sys
import threading

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)

STUBS = {
    "PredictionService": (prediction_service_pb2, prediction_service_pb2_grpc),
    "ModelService": (model_service_pb2, model_service_pb2_grpc),
}
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def channel_to(target, tls):
    if tls is None:
        return grpc.insecure_channel(target, options=UNLIMITED)
    parts = [tls.get(name, "").encode() or None for name in ("ca", "key", "cert")]
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(*parts), options=UNLIMITED)


def call(asked):
    messages, stubs = STUBS[asked["service"]]
    method = messages.DESCRIPTOR.services_by_name[asked["service"]].methods_by_name[asked["method"]]
    request = json_format.ParseDict(asked["request"], method.input_type._concrete_class())
    for name, tensor in asked.get("tensors", {}).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array_of(tensor)))
    with channel_to(asked["target"], asked.get("tls")) as channel:
        stub = getattr(stubs, f"{asked['service']}Stub")(channel)
        try:
            response = getattr(stub, asked["method"])(
                request, timeout=asked.get("timeout", 60), wait_for_ready=asked.get("wait", False)
            )
        except grpc.RpcError as error:
            return {"code": error.code().name, "details": error.details()}
    return {"code": "OK", **answer(response)}


def answer(response):
    if isinstance(response, predict_pb2.PredictResponse):
        return {
            "response": {"modelSpec": json_format.MessageToDict(response.model_spec)},
            "tensors": {name: tensor_of(proto) for name, proto in response.outputs.items()},
        }
    found = json_format.MessageToDict(response)
    if isinstance(response, get_model_metadata_pb2.GetModelMetadataResponse):
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert response.metadata["signature_def"].Unpack(signatures)
        found["metadata"] = json_format.MessageToDict(
            signatures, preserving_proto_field_name=True, **always_print()
        )
    return {"response": found}


def always_print():
    """Name the option that newer versions of protobuf have renamed."""
    names = json_format.MessageToDict.__code__.co_varnames
    new = "always_print_fields_with_no_presence"
    return {new if new in names else "including_default_value_fields": True}


def array_of(tensor):
    if tensor["dtype"] == "string":
        array = np.empty(len(tensor["data"]), object)
        array[:] = [base64.b64decode(item) for item in tensor["data"]]
    else:
        data = base64.b64decode(tensor["data"])
        array = np.frombuffer(data, tf.dtypes.as_dtype(tensor["dtype"]).as_numpy_dtype)
    return array.reshape(tensor["shape"])


def tensor_of(proto):
    array = tf.make_ndarray(proto)
    data: str | list[str]
    if proto.dtype == tf.string.as_datatype_enum:
        data = [base64.b64encode(item).decode() for item in array.reshape(-1).tolist()]
    else:
        data = base64.b64encode(array.tobytes()).decode()
    return {
        "dtype": tf.dtypes.as_dtype(proto.dtype).name,
        "shape": list(array.shape),
        "data": data,
        "fields": [field.name for field, _ in proto.ListFields()],
    }


class Flood:
    """Predict again and again from several threads, and hold each answer to its version."""

    def __init__(self, target):
        self.codes: collections.Counter[str] = collections.Counter()
        self.versions: collections.Counter[int] = collections.Counter()
        self.wrong = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(target,)) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self, target):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "line"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0], tf.float32))
        with channel_to(target, None) as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            while not self.stopping.is_set():
                try:
                    response = predict(request, timeout=30)
                except grpc.RpcError as error:
                    with self.lock:
                        self.codes[f"{error.code().name}: {error.details()}"] += 1
                    continue
                version = response.model_spec.version.value
                value = response.outputs["y"].float_val[0]
                with self.lock:
                    self.codes["OK"] += 1
                    self.versions[version] += 1
                    if value != 2.0 + version:
                        self.wrong.append([version, value])

    def seen(self):
        with self.lock:
            return {
                "codes": dict(self.codes),
                "versions": dict(self.versions),
                "wrong": self.wrong,
            }

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        return self.seen()


def serve():
    floods: list[Flood] = []
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "call":
            said = call(asked)
        elif asked["do"] == "flood":
            floods.append(Flood(asked["target"]))
            said = {}
        elif asked["do"] == "look":
            said = floods[-1].seen()
        else:
            said = floods.pop().stop()
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    serve()
