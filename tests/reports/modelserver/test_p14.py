"""P14: sixteen clients that send the large bodies of the report at once, to a real server."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.modelserver.fixtures import StartServer
from tests.modelserver.serving import ModelServer

pytestmark = pytest.mark.tensorflow

CLIENTS = 16
MEMORY = 900_000_000
PREDICT = "/v1/models/line:predict"
VALUES = 1_800_000
# Of 9 MB: this one fits into the memory, but not sixteen times.
NUMBERS = b'{"instances": [%s]}' % b", ".join([b"0.5"] * VALUES)
# This one never does.
LISTS = b'{"instances": [%s]}' % b",".join([b"[]"] * 3_000_000)
SMALL = {"instances": [0.5]}


Request = tuple[bytes, dict[str, str]]
REQUESTS: list[Request] = [
    (NUMBERS, {}),
    (gzip.compress(NUMBERS), {"Content_Encoding": "gzip"}),
    (LISTS, {}),
]


def bytes_taken(server: ModelServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def test_p14_large_bodies_at_once_are_answered_or_refused_beside_health(
    start_server: StartServer, saved_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_MEMORY_BYTES", str(MEMORY))
    server = start_server("--model_name=line", f"--model_base_path={saved_models / 'line'}")
    (expected,) = server.wait_until_ready().post(PREDICT, SMALL).json["predictions"]

    health, most = set(), 0
    with ThreadPoolExecutor(CLIENTS) as clients:
        sent = [
            clients.submit(server.post, PREDICT, body, **headers)
            for body, headers in islice(cycle(REQUESTS), CLIENTS)
        ]
        while not all(one.done() for one in sent):
            health.add(server.get("/readyz").status)
            most = max(most, bytes_taken(server))

    assert health == {200}
    assert most < MEMORY
    for answer, (body, _) in zip((one.result() for one in sent), cycle(REQUESTS), strict=False):
        if answer.status == 200:
            assert body is not LISTS
            assert answer.json["predictions"] == [expected] * VALUES
        else:
            assert answer.status in ({413, 429} if body is LISTS else {429})
            assert "would take about" in answer.error
            assert answer.status == 413 or answer.headers["Retry-After"] == "1"
    assert server.post(PREDICT, LISTS).status == 413
    assert server.post(PREDICT, NUMBERS).status == 200
    assert server.process.poll() is None
