"""Fuzz the REST API by its OpenAPI document: python -m tests.fuzz_api SCHEMATHESIS SECONDS.

A product is started for it. It fails where a response is a server error, has a status that the
document does not name for the operation, or takes more than a second.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.config.server.launched import CLEAN, ROOT, LaunchedProduct
from workspace.compute.local.ports import free_port

CHECKS = "not_a_server_error,status_code_conformance"
# Its phase "coverage" stumbles over bodies of type binary (4.32.5).
PHASES = "examples,fuzzing,stateful"
LONGEST_RESPONSE_SECONDS = "1"
START_SECONDS = 120
# Of the names in addresses one is given, so that operations of the team are reached.
CONFIG = '[parameters]\n"path.slug" = "default"\n'


def main(schemathesis: str, seconds: str) -> int:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        port = free_port(set())
        environment = {
            "TRAINYARD_HOME": str(folder / "home"),
            "TRAINYARD_PORT": str(port),
            "TRAINYARD_GRPC_PORT": "0",
            "TRAINYARD_ADMIN_PASSWORD": "correct-horse-battery",
        }
        (folder / "schemathesis.toml").write_text(CONFIG)
        product = LaunchedProduct(folder, "-m", "config.server.launch", environment=environment)
        try:
            product.wait_to_hear("Trainyard is up", seconds=START_SECONDS)
            token = _token(environment)
            return subprocess.run(
                [
                    str(Path(schemathesis).absolute()),
                    f"--config-file={folder / 'schemathesis.toml'}",
                    "run",
                    f"http://127.0.0.1:{port}/api/v1/openapi.json",
                    f"--header=Authorization: Bearer {token}",
                    f"--checks={CHECKS}",
                    f"--phases={PHASES}",
                    f"--max-response-time={LONGEST_RESPONSE_SECONDS}",
                    f"--max-time={seconds}",
                    "--continue-on-failure",
                    "--warnings=off",
                ],
                cwd=folder,
                check=False,
            ).returncode
        finally:
            product.stop()


def _token(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", "token", "admin", "--scope", "admin"],
        cwd=ROOT,
        env={**CLEAN, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()[-1]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
