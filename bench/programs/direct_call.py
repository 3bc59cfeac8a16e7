"""Print the median seconds of calling a SavedModel in this process, the way the server does."""

import statistics
import sys
import time

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

session = tf.compat.v1.Session(graph=tf.Graph())
with session.graph.as_default():
    loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], sys.argv[1])
signature = loaded.signature_def["serving_default"]
feed = signature.inputs["x"].name
fetch = signature.outputs["y"].name
call = session._make_callable_from_options(config_pb2.CallableOptions(feed=[feed], fetch=[fetch]))
row = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
times = []
for _ in range(20000):
    began = time.perf_counter()
    call(row)
    times.append(time.perf_counter() - began)
print(statistics.median(times))
