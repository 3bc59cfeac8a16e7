"""Call Predict on a port with the bytes of a file: PORT FILE CONNECTIONS SECONDS. Prints JSON."""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

import grpc
import uvloop

METHOD = "/tensorflow.serving.PredictionService/Predict"
OPTIONS = [
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.use_local_subchannel_pool", 1),
]
target = f"127.0.0.1:{sys.argv[1]}"
body = Path(sys.argv[2]).read_bytes()
connections, seconds = int(sys.argv[3]), float(sys.argv[4])
times = []


def call_one_by_one():
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        call = channel.unary_unary(METHOD)
        call(body, wait_for_ready=True, timeout=60)
        deadline = time.perf_counter() + seconds
        while (began := time.perf_counter()) < deadline:
            call(body)
            times.append(time.perf_counter() - began)


async def call_at_once():
    channels = [grpc.aio.insecure_channel(target, options=OPTIONS) for _ in range(connections)]
    calls = [channel.unary_unary(METHOD) for channel in channels]
    await asyncio.gather(*(call(body, wait_for_ready=True, timeout=60) for call in calls))
    deadline = time.perf_counter() + seconds

    async def client(call):
        while (began := time.perf_counter()) < deadline:
            await call(body)
            times.append(time.perf_counter() - began)

    await asyncio.gather(*map(client, calls))
    await asyncio.gather(*(channel.close() for channel in channels))


if connections == 1:
    call_one_by_one()
else:
    uvloop.run(call_at_once())
print(json.dumps({"p50": statistics.median(times), "rps": len(times) / seconds}))
