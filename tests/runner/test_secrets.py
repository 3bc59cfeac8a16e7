"""The secrets that a process is told of: where they are while it runs, and that nothing stays."""

import json
from pathlib import Path

import pytest

from tests.runner.stage import one
from tests.runner.web import FakeServer

pytestmark = pytest.mark.processes
SECRETS = {
    "TOKEN": {"value": "correct-horse", "file": ""},
    "ACCOUNT": {"value": '{"key": "é\\n"}\r\n', "file": "account.json"},
}
SCRIPT = """
import json, os
path = os.environ["ACCOUNT"]
stat = os.stat(path)
folder = os.stat(os.path.dirname(path))
content = open(path, newline="", encoding="utf-8").read()
print(json.dumps([os.environ["TOKEN"], content, oct(stat.st_mode), oct(folder.st_mode)]))
"""


def test_a_program_gets_them_as_variables_and_files_that_only_it_reads(
    yard: Path, web: FakeServer
) -> None:
    group, told = one(yard, web, SCRIPT, secrets=SECRETS)
    group.until_collected()

    assert json.loads(told.log) == [
        "correct-horse",
        '{"key": "é\\n"}\r\n',
        "0o100600",
        "0o40700",
    ]


def test_nothing_of_them_is_left_in_the_folder_of_the_process(yard: Path, web: FakeServer) -> None:
    group, _ = one(yard, web, "print('done')", secrets=SECRETS)
    group.until_collected()

    kept = [path for path in group.folder().rglob("*") if path.is_file()]
    assert kept
    assert not any(b"correct-horse" in path.read_bytes() for path in kept)
    assert not any(path.name == "account.json" for path in kept)


def test_a_log_whose_end_the_server_holds_back_is_sent_whole_at_the_end(
    yard: Path, web: FakeServer
) -> None:
    script = (
        "import time; open('logs/a.txt', 'w').write('one\\ntw');"
        " print('one\\ntw', end='', flush=True); time.sleep(2.5)"
    )
    web.holds_back = b"tw"
    group, told = one(yard, web, script)
    group.until_collected()

    assert told.log == b"one\ntw"
    assert told.files["logs/a.txt"] == b"one\ntw"
