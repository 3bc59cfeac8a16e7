"""Run in KServe's virtualenv: serve a model like the benchmark's until the input ends."""

import json
import multiprocessing
import os
import socket
import sys
import time
from typing import Any

PORT = 18266
BODY = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]})


def serve() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nothing, output)  # it says something about every request
    import kserve
    import numpy as np

    class Half(kserve.Model):
        def __init__(self) -> None:
            super().__init__("half")
            self.ready = True

        def predict(
            self, payload: Any, headers: Any = None, response_headers: Any = None
        ) -> dict[str, Any]:
            return {"predictions": (np.asarray(payload["instances"]) / 2 + 2).tolist()}

    kserve.ModelServer(http_port=PORT, enable_grpc=False, workers=1).start([Half()])


def main() -> None:
    server = multiprocessing.Process(target=serve)
    server.start()
    try:
        while socket.socket().connect_ex(("127.0.0.1", PORT)):
            time.sleep(0.05)
        url = f"http://127.0.0.1:{PORT}/v1/models/half:predict"
        print(json.dumps({"url": url, "body": BODY}), flush=True)
        sys.stdin.read()
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
