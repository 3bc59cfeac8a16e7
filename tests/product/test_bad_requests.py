"""What nobody should send: each gets a clear answer, stores nothing by halves, never a 500."""

import hashlib
import json
import math
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.product.product import Product
from tests.product.sources import packed, script
from tests.runs.source.archive_builders import tar_entry, tar_with, zip_of, zip_with

pytestmark = pytest.mark.product
GOOD = {"experiment": "bad", "entry_script": "train.py"}
SOURCE = packed({"train.py": "print('fine')"})
LINK = 0o120777


def refused(answer: httpx.Response, status: int = 400) -> dict[str, str]:
    """Check that an answer is a clear refusal, and return what it says of each field."""
    assert answer.status_code == status, answer.text[:2000]
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return {error["field"]: error["message"] for error in problem["errors"]}


@pytest.fixture
def nothing_is_written(product: Product) -> Iterator[None]:
    """Hold that a test leaves neither a run nor a file behind."""
    product.send_run(SOURCE, {})  # its files are stored by now: others may use them

    def what_is_there() -> tuple[Any, set[str]]:
        blobs = {str(path) for path in product.home.glob("blobs/**/*") if path.is_file()}
        return product.get("/runs"), blobs | {str(path) for path in product.home.glob("uploads/*")}

    before = what_is_there()
    yield
    assert what_is_there() == before


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (zip_with((b"/etc/train.py", b"x")), "/etc/train.py"),
        (zip_with((b"a/../../train.py", b"x")), ".."),
        (zip_with((b"..\\train.py", b"x")), ".."),
        (zip_with((b"train.py", b"/etc/passwd"), mode=LINK), "link"),
        (tar_with(tar_entry(b"train.py", kind=b"2", link=b"/etc/passwd")), "link"),
        (tar_with(tar_entry(b"train.py", kind=b"1", link=b"other")), "link"),
        (tar_with(tar_entry(b"train.py", kind=b"3")), "device"),
        (tar_with(tar_entry(b"train.py", kind=b"6")), "train.py"),
        (zip_with((b"train.py", b"1"), (b"train.py", b"2")), "train.py"),
        (zip_with((b"tr\xff\xfe.py", b"x"), flags=0x800), "UTF-8"),
        (SOURCE[:-30], "cut off"),
        (SOURCE[: len(SOURCE) // 2], "cut off"),
        (b"", ""),
        (b"this is no archive", ""),
        (zip_with((b"train.py", b"x" * 10_000), size=5), "train.py"),
        (zip_of({"train.py": b"0" * 50_000_000}), ""),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("nothing_is_written")
def test_a_bad_archive_is_refused_in_words(product: Product, archive: bytes, says: str) -> None:
    is_tar = archive[257:262] == b"ustar"
    answer = product.call(
        "POST",
        "/runs",
        files={"source": ("source.tar" if is_tar else "source.zip", archive)},
        data={"config": json.dumps(GOOD)},
    )
    assert answer.status_code in {400, 413}, answer.text
    errors = refused(answer, answer.status_code)
    assert says in " ".join([answer.json()["detail"], *errors.values()])


@pytest.mark.usefixtures("nothing_is_written")
def test_an_archive_of_too_many_entries_is_refused(product: Product) -> None:
    archive = zip_of({f"{n}.txt": b"" for n in range(100_001)})
    refused(product.send_run(archive, GOOD), 413)


def test_a_manifest_that_lies_makes_no_snapshot(product: Product) -> None:
    true, other = b"print(1)\n", b"print(2)\n"
    digest = hashlib.sha256(true).hexdigest()
    index = json.dumps([{"path": "train.py", "size": len(other), "digest": digest}]).encode()
    body = len(index).to_bytes(4, "big") + index + other
    refused(product.call("POST", "/uploads/blobs", content=body))
    manifest = {"files": [{"path": "train.py", "size": len(true), "digest": digest}]}
    assert product.post("/uploads/missing", manifest) == {"missing": [digest]}
    refused(product.call("POST", "/uploads/snapshots", json=manifest))
    index = json.dumps([{"path": "train.py", "size": len(true), "digest": digest}]).encode()
    body = len(index).to_bytes(4, "big") + index + true
    assert product.call("POST", "/uploads/blobs", content=body).status_code == 200
    manifest["files"][0]["size"] = 5
    refused(product.call("POST", "/uploads/snapshots", json=manifest))
    for path in ("../train.py", "/train.py", "a//b", "", "nul\0", "x" * 5000):
        manifest["files"][0] |= {"size": len(true), "path": path}
        refused(product.call("POST", "/uploads/snapshots", json=manifest))


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ("{not json", {"config"}),
        ("[" * 100_000, {"config"}),
        ("[]", set()),
        ("null", set()),
        ('"text"', set()),
        ("{}", {"experiment", "entry_script"}),
        (GOOD | {"entry_scrpt": "x"}, {"entry_scrpt"}),
        (GOOD | {"node_count": 0}, {"node_count"}),
        (GOOD | {"node_count": "two"}, {"node_count"}),
        (GOOD | {"memory_gb": -1, "cpus_per_process": True}, {"memory_gb", "cpus_per_process"}),
        (GOOD | {"memory_gb": 10**9}, {"memory_gb"}),
        (GOOD | {"memory_gb": 500_000}, {"memory_gb"}),
        (GOOD | {"cpus_per_process": 4000}, {"cpus_per_process"}),
        (GOOD | {"compute_target": "moon"}, {"compute_target"}),
        (GOOD | {"compute_target": "nul\0"}, {"compute_target"}),
        (GOOD | {"experiment": "new\nline"}, {"experiment"}),
        (GOOD | {"experiment": "\ud800"}, {"experiment"}),
        (GOOD | {"entry_script": "other.py"}, {"entry_script"}),
        (GOOD | {"entry_script": "../train.py"}, {"entry_script"}),
        (GOOD | {"entry_script": "/train.py"}, {"entry_script"}),
        (GOOD | {"framework_version": "1.13"}, {"framework_version"}),
        (GOOD | {"framework_version": 2.21}, {"framework_version"}),
        (GOOD | {"distributed_training": {"type": "mpj"}}, {"distributed_training.type"}),
        (GOOD | {"distributed_training": []}, {"distributed_training"}),
        (
            GOOD | {"distributed_training": {"type": "multi_worker", "worker_count": 0}},
            {"distributed_training.worker_count"},
        ),
        (
            GOOD | {"environment_variables": {"TF_CONFIG": "{}"}},
            {"environment_variables.TF_CONFIG"},
        ),
        (
            GOOD | {"environment_variables": {"TRAINYARD_URL": "x", "A=B": "x", "OK": None}},
            {
                "environment_variables.TRAINYARD_URL",
                "environment_variables.A=B",
                "environment_variables.OK",
            },
        ),
        (GOOD | {"script_params": {"--x": {"deep": 1}}}, {"script_params.--x"}),
        (GOOD | {"pip_packages": ["--index-url http://elsewhere"]}, {"pip_packages"}),
        (GOOD | {"max_run_duration_seconds": math.inf}, {"max_run_duration_seconds"}),
        (GOOD | {"priority": 10**30}, {"priority"}),
    ],
    ids=lambda value: json.dumps(value)[-40:] if not isinstance(value, set) else "",
)
@pytest.mark.usefixtures("nothing_is_written")
def test_a_bad_configuration_is_refused_with_every_field_named(
    product: Product, config: object, fields: set[str]
) -> None:
    errors = refused(product.send_run(SOURCE, config))
    assert fields <= errors.keys() or {field.partition(".")[0] for field in fields} <= {
        field.partition("[")[0] for field in errors
    }, errors
    assert len(errors) >= len(fields)


def test_what_asks_for_more_than_the_target_has_is_told_the_numbers(product: Product) -> None:
    errors = refused(product.send_run(SOURCE, GOOD | {"cpus_per_process": 4000}))
    assert "4000" in errors["cpus_per_process"].replace(",", "")
    wide = {"type": "multi_worker", "worker_count": 1000}
    errors = refused(product.send_run(SOURCE, GOOD | {"distributed_training": wide}))
    assert any("1000" in text.replace(",", "") for text in errors.values())


def test_a_field_that_is_misspelt_is_answered_with_the_nearest_one(product: Product) -> None:
    errors = refused(product.send_run(SOURCE, GOOD | {"framwork_version": "2.21"}))
    assert "framework_version" in errors["framwork_version"]


def test_a_run_without_its_parts_is_refused(product: Product) -> None:
    refused(product.call("POST", "/runs", data={"config": "{}"}))
    refused(product.call("POST", "/runs", files={"source": ("a.zip", SOURCE)}))
    refused(product.call("POST", "/runs", content=b"", headers={"Content-Type": "text/plain"}))
    kind = "multipart/form-data; boundary=x"
    broken = product.call("POST", "/runs", content=b"--x\r\nbroken", headers={"Content-Type": kind})
    refused(broken)


@pytest.mark.parametrize(
    "path",
    [
        "/runs/0",
        "/runs/999999999",
        "/runs/99999999999999999999999999",
        "/runs/-1",
        "/runs/x",
        "/runs/1%00",
        "/models/nobody",
        "/models/a%2F..%2Fb/versions/1",
        "/models/nobody/versions/99999999999999999999999",
        "/services/nobody",
        "/services/no%00body",
        "/runs/1/files/..%2f..%2f..%2fdb.sqlite3",
        "/runs/1/files/outputs/%2e%2e/%2e%2e/db.sqlite3",
        "/runs/1/files/nul%00",
        "/runs/1/logs/..%2Fworker-0",
        "/runs/1/logs/nobody-0",
        "/targets/%ff",
    ],
)
def test_what_is_not_there_is_not_found(product: Product, path: str) -> None:
    answer = product.call("GET", path)
    assert answer.status_code in {400, 404, 405}, answer.text[:500]
    assert b"SQLite format" not in answer.content


@pytest.mark.parametrize(
    "query",
    [
        "/runs?cursor=nonsense",
        "/runs?cursor=99999999999999999999999",
        "/runs?status=Happy",
        "/runs?q=%00",
        "/runs?experiment=%00",
        "/runs?q=" + "x" * 5000,
    ],
)
def test_odd_questions_for_runs_are_answered_or_refused(product: Product, query: str) -> None:
    answer = product.call("GET", query)
    assert answer.status_code in {200, 400}, answer.text[:500]


def test_odd_questions_about_a_run_are_answered_or_refused(product: Product) -> None:
    number = product.submit(script("print('here')"))
    product.wait_for_end(number)
    for query in (
        "metrics?name=%00",
        "metrics?max_points=0",
        "metrics?from=99999999999999999999",
        "usage?process=%00",
        "files.zip?under=%00",
        "files.zip?under=../..",
        "preview/..%2fdb.sqlite3",
        "preview/%00",
        "logs/worker-0?offset=-1",
        "logs/worker-0?offset=1e9",
        "logs/worker-0?offset=99999999999999999999",
        "logs/worker-0/lines?first=-99999999999999999999&count=0",
        "logs/worker-0/search?q=%00",
        "logs/worker-0/search?q=(((&limit=-1",
        "logs/%00",
    ):
        answer = product.call("GET", f"/runs/{number}/{query}")
        assert answer.status_code in {200, 400, 404}, (query, answer.text[:500])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models"),
        ("POST", "/services"),
        ("POST", "/targets"),
        ("PATCH", "/targets/local"),
        ("POST", "/uploads/plan"),
        ("POST", "/uploads/missing"),
        ("POST", "/uploads/snapshots"),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'{"name": 7, "model": [], "run": "x", "files": {}, "kind": null, "is_paused": "?"}',
        b'{"name": "\\u0000", "model": "a:b:c", "run": -1, "files": [{"path": 1}], "kind": "moon"}',
        b"\xff\xfe",
        b'{"name": "\\ud800", "model": "\\udfff", "run": "\\ud800", "\\ud800": 1}',
        b"[" * 100_000,
        b'{"a": ' * 5_000 + b"1" + b"}" * 5_000,
        b'{"name": "x", "kind": 1e999, "max_processes": -5, "files": [null], "extra": true}',
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else str(value),
)
def test_a_body_that_is_not_what_it_should_be_is_refused(
    product: Product, method: str, path: str, body: bytes
) -> None:
    answer = product.call(method, path, content=body, headers={"Content-Type": "application/json"})
    refused(answer)


def test_no_token_opens_nothing(product: Product) -> None:
    for token in ("", "Bearer", "Bearer ty_wrong", "Bearer \xff", "Basic YTpi"):
        headers = httpx.Headers({"Authorization": token}, encoding="latin-1")
        answer = product.http.get("/teams/default/runs", headers=headers)
        refused(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (
        product.http.get(
            "/teams/others/runs", headers={"Authorization": f"Bearer {product.token}"}
        ).status_code
        == 404
    )


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_break_nothing(product: Product, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for _ in range(20):
        broken = bytearray(SOURCE)
        for _ in range(chance.randint(1, 5)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        answer = product.send_run(bytes(broken), GOOD | {"entry_script": "missing.py"})
        refused(answer, answer.status_code if answer.status_code < 500 else 400)


def test_odd_bytes_in_a_log_come_back_as_they_are_and_are_shown_as_text(product: Product) -> None:
    text = (
        "import sys\n"
        "out = sys.stdout.buffer\n"
        "out.write(b'<script>alert(1)</script>\\n')\n"
        "out.write(b'x' * 10_000_000 + b'\\n')\n"
        "out.write(b'nul \\0 and \\xff\\xfe and \\xc3\\n')\n"
        "out.write('half of a € at the end: '.encode() + b'\\xe2\\x82')\n"
    )
    number = product.submit(script(text))
    assert product.wait_for_end(number)["status"] == "Completed"
    log = product.log(number)
    assert log == (
        b"<script>alert(1)</script>\n"
        + b"x" * 10_000_000
        + b"\nnul \0 and \xff\xfe and \xc3\nhalf of a \xe2\x82\xac at the end: \xe2\x82"
    )
    answer = product.call("GET", f"/runs/{number}/logs/worker-0")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    shown = product.get(f"/runs/{number}/logs/worker-0/lines")
    assert shown["total"] == 4
    assert shown["lines"][0] == "<script>alert(1)</script>"
    assert len(shown["lines"][1]) < 100_000
    assert shown["lines"][2] == "nul � and �� and �"
    with product.watch(number, {"worker-0": 0}) as socket:
        seen = 0
        while seen < len(log):
            message = json.loads(socket.recv(30))
            if message["type"] == "log":
                assert message["offset"] == seen
                seen = message["next"]


def test_metrics_that_are_no_numbers_are_kept_as_such_and_odd_lines_harm_no_others(
    product: Product,
) -> None:
    text = (
        "out = open('logs/metrics.jsonl', 'w')\n"
        'out.write(\'{"step": 1, "loss": NaN}\\n{"step": 2, "loss": Infinity}\\n\')\n'
        'out.write(\'{"step": 3, "loss": -Infinity}\\n{"step": 4, "loss": 0.5}\\n\')\n'
        'out.write(\'not json\\n[]\\n{"step": "x", "loss": 1}\\n{"loss": 1}\\n\')\n'
        'out.write(\'{"step": 5, "loss": 1e999}\\n{"step": 6, "loss": 0.25}\\n\')\n'
    )
    number = product.submit(script(text))
    assert product.wait_for_end(number)["status"] == "Completed"
    answer = product.call("GET", f"/runs/{number}/metrics")
    (series,) = json.loads(answer.text, parse_constant=pytest.fail)["series"]
    points = {point["step"]: point["value"] for point in series["points"]}
    assert points == {1: "NaN", 2: "Infinity", 3: "-Infinity", 4: 0.5, 5: "Infinity", 6: 0.25}
