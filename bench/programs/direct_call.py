"""Print the median seconds of calling a SavedModel in this process, the way the server does.

direct_call.py VERSION [ROWS]
"""

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
count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
rows = np.tile(np.array([[5.1, 3.5, 1.4, 0.2]], np.float32), (count, 1))
times = []
for _ in range(max(50, 20000 // count)):
    began = time.perf_counter()
    call(rows)
    times.append(time.perf_counter() - began)
print(statistics.median(times))
