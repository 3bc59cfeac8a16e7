"""A client as users of TensorFlow Serving wrote it, but for the address and the key.

Run with a Python that has tensorflow-serving-api: grpc_client.py ADDRESS KEY MODEL
"""

import json
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

address, key, model = sys.argv[1:]
metadata = (("authorization", f"Bearer {key}"),)
options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
found: dict[str, object] = {}

with grpc.insecure_channel(address, options=options) as channel:
    predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0], [3.0, 4.0]], tf.float32))
    answer = predictions.Predict(request, timeout=60, metadata=metadata)
    found["y"] = tf.make_ndarray(answer.outputs["y"]).tolist()
    found["version"] = answer.model_spec.version.value

    large = tf.ones([500_000, 2])
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(large))
    answer = predictions.Predict(request, timeout=60, metadata=metadata)
    found["sum"] = float(tf.make_ndarray(answer.outputs["y"]).sum())

    asked = get_model_metadata_pb2.GetModelMetadataRequest()
    asked.model_spec.name = model
    asked.metadata_field.append("signature_def")
    said = predictions.GetModelMetadata(asked, timeout=60, metadata=metadata)
    found["metadata"] = list(said.metadata)

    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = model
    states = models.GetModelStatus(status, timeout=60, metadata=metadata)
    found["states"] = [one.state for one in states.model_version_status]

    for name, wrong in (("no_model", "nobody"), ("bad_input", model)):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = wrong
        request.inputs["z"].CopyFrom(tf.make_tensor_proto([1.0]))
        try:
            predictions.Predict(request, timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            found[name] = [error.code().name, error.details()]

print(json.dumps(found))
