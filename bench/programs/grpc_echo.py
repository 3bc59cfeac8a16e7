"""The least that a gRPC server in Python can do: answer every call with its own bytes. PORT KIND.

`threads` is grpcio's usual server, `loop` its asyncio server on uvloop, as the model server's is.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import uvloop

UNLIMITED = [
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_send_message_length", 2**31 - 1),
]
address = f"127.0.0.1:{sys.argv[1]}"


def echo(request, context):
    return request


async def echo_on_the_loop(request, context):
    return request


class Echo(grpc.GenericRpcHandler):
    def __init__(self, answer):
        self.answer = answer

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.answer)


async def serve_on_a_loop():
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((Echo(echo_on_the_loop),))
    server.add_insecure_port(address)
    await server.start()
    await asyncio.Event().wait()


def serve_with_threads():
    server = grpc.server(ThreadPoolExecutor(10), options=UNLIMITED)
    server.add_generic_rpc_handlers((Echo(echo),))
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if sys.argv[2] == "loop":
    uvloop.run(serve_on_a_loop())
else:
    serve_with_threads()
