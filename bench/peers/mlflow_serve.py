"""Run in MLflow's virtualenv: `mlflow models serve` a model until the input ends."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

PORT = 18267
BODY = json.dumps({"inputs": [[5.1, 3.5, 1.4, 0.2]]})


def save(folder: str) -> None:
    import mlflow.pyfunc
    import numpy as np

    class Half(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return np.asarray(model_input) / 2 + 2

    mlflow.pyfunc.save_model(folder, python_model=Half(), pip_requirements=["mlflow"])


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        model = f"{home}/half"
        with contextlib.redirect_stderr(io.StringIO()):  # it has much to say about the model
            save(model)
        command = [f"{sys.prefix}/bin/mlflow", "models", "serve", "-m", model, "-p", str(PORT)]
        server = subprocess.Popen(
            [*command, "--env-manager", "local", "--workers", "1"],
            cwd=home,
            env=os.environ | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while socket.socket().connect_ex(("127.0.0.1", PORT)):
                if server.poll() is not None:
                    raise RuntimeError("mlflow models serve ended")
                time.sleep(0.05)
            url = f"http://127.0.0.1:{PORT}/invocations"
            print(json.dumps({"url": url, "body": BODY}), flush=True)
            sys.stdin.read()
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


if __name__ == "__main__":
    main()
