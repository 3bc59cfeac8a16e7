"""The least that a gRPC server in Python can do: answer every call with its own bytes. PORT."""

import asyncio
import sys

import grpc
import uvloop

UNLIMITED = [
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.max_send_message_length", 2**31 - 1),
]


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.answer)

    async def answer(self, request, context):
        return request


async def serve():
    server = grpc.aio.server(options=UNLIMITED)
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await asyncio.Event().wait()


uvloop.run(serve())
