"""Write Predict requests for the model `half` below a folder: `small`, and `large` with 10 MB."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

for name, rows in (("small", 1), ("large", 655_360)):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    values = np.tile(np.array([5.1, 3.5, 1.4, 0.2], np.float32), (rows, 1))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(values))
    Path(sys.argv[1], name).write_bytes(request.SerializeToString())
