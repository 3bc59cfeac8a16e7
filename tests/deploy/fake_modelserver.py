"""A model server as small as can be, which misbehaves when its model says so.

It stands where python stands in an environment, so it takes the arguments of the real command.
The file behaviour in the model's folder holds words: `die` at once, `broken` cannot load, `slow=S`
loads for S seconds, `hang` answers health checks until it is sent that word, `errs` and `refuses`
answer every request so, `dies_when_asked` ends at the first one, `eats=M` takes M MB of memory
when it is sent that word. `status=N` is how REST responds, and `grpc=CODE` makes it listen for gRPC
and answer so. `cannot_load=CODE` ends as a model server does whose model cannot be loaded.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

flags = dict(argument[2:].split("=", 1) for argument in sys.argv if argument.startswith("--"))
model = next(Path(flags["model_base_path"]).iterdir())
told = model / "behaviour"
behaviour = {
    word.partition("=")[0]: word.partition("=")[2]
    for word in (told.read_text() if told.exists() else "").split()
}
started = time.monotonic()
hangs = False
eaten: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if hangs:
            time.sleep(600)
        if self.path == "/readyz":
            is_ready = "broken" not in behaviour and (
                time.monotonic() - started >= float(behaviour.get("slow", "0"))
            )
            self.answer(200 if is_ready else 503, {"status": "ready" if is_ready else "not yet"})
        else:
            state = "END" if "broken" in behaviour else "LOADING"
            error = {"error_code": "DATA_LOSS", "error_message": "the weights are damaged"}
            fine = {"error_code": "OK", "error_message": ""}
            status = error if state == "END" else fine
            self.answer(200, {"model_version_status": [{"state": state, "status": status}]})

    def do_POST(self) -> None:
        global hangs
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hangs = "hang" in behaviour and b"hang" in body
        if b"die" in body or "dies_when_asked" in behaviour:
            os._exit(13)
        if "eats" in behaviour and b"eats" in body:
            eaten.append(b"x" * int(behaviour["eats"]) * 1_000_000)
        if "refuses" in behaviour:
            self.answer(400, {"error": "no such value"})
            return
        if "status" in behaviour:
            self.answer(int(behaviour["status"]), {"error": "as the model says"})
            return
        if "errs" in behaviour:
            self.answer(500, {"error": "the weights do not fit"})
            return
        self.answer(200, {"predictions": [f"model {model.name}", self.path, len(body)]})

    def answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


print(f"serving {flags['model_name']} {model.name}", flush=True)
if "die" in behaviour:
    print("I have no wish to live", flush=True)
    sys.exit(9)
if "cannot_load" in behaviour:
    print(
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available:"
        f" {{{{{{name: {flags['model_name']} version: 1}} due to error: {behaviour['cannot_load']}:"
        " Op type not registered 'Odd' in binary running on a machine}, }",
        flush=True,
    )
    sys.exit(255)


def answer_grpc(code: str) -> None:
    """Answer every call with a status code, or with no bytes for OK."""
    import grpc

    class Calls(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(behave)

    def behave(request: bytes, context: Any) -> bytes:
        if code != "OK":
            context.abort(grpc.StatusCode[code], "as the model says")
        return b""

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Calls()])
    server.add_insecure_port(f"{flags['host']}:{flags['port']}")
    server.start()
    kept.append(server)


kept: list[Any] = []
if "grpc" in behaviour:
    answer_grpc(behaviour["grpc"])
address = flags.get("host", ""), int(flags["rest_api_port"])
ThreadingHTTPServer(address, Handler).serve_forever()
