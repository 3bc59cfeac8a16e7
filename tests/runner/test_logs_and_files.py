"""What a runner ships: the log, files that grow, outputs; through the restarts of the web."""

import io
import shutil
import ssl
import subprocess
import tarfile
from functools import partial
from pathlib import Path

import pytest

from tests.runner.stage import Group, one, python
from tests.runner.web import FakeServer, spec, until

pytestmark = pytest.mark.processes


def numbered(count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(count))


def tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("is_chunked", [True, False])
def test_the_source_is_the_working_directory(yard: Path, web: FakeServer, is_chunked: bool) -> None:
    web.chunked_source = is_chunked
    long_name = f"deep/{'long' * 40}/data.txt"
    group = Group(yard, web, [spec(["python", "train.py", long_name], source=True)])
    group.told[0].source = tar_of(
        {"train.py": b"import sys; print(open(sys.argv[1]).read())", long_name: b"x" * 5000}
    )
    group.start()
    group.until_collected()
    assert group.told[0].log == b"x" * 5000 + b"\n"


def test_many_lines_come_whole_and_in_order(yard: Path, web: FakeServer) -> None:
    script = "for number in range(200_000): print('line', number)"
    group, told = one(yard, web, script, environment={"PYTHONUNBUFFERED": ""})
    group.until_collected()
    assert told.log == numbered(200_000)


def test_a_line_without_an_end_is_shown_soon(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, "import time; print('50%', end='', flush=True); time.sleep(60)")
    until(lambda: told.log == b"50%")
    group.backend.kill(group.label)


@pytest.mark.parametrize("later", ["", "and more than there was before the spool was cut. " * 20])
def test_what_follows_a_spool_that_the_program_cut_continues_the_log(
    yard: Path, web: FakeServer, later: str
) -> None:
    script = f"""
import os, time
for n in range(3):
    print('before', n, flush=True)
    while not os.path.exists(f'logs/seen{{n}}'): time.sleep(0.01)
    os.system('echo through the device > /dev/stderr')
    print({later!r} + 'after', n, flush=True)
    while not os.path.exists(f'logs/seen{{n}} after'): time.sleep(0.01)
"""
    group, told = one(yard, web, script)

    def has_arrived(text: str) -> bool:
        return told.log.decode() == text

    expected = ""
    for n in range(3):
        for line, seen in (
            (f"before {n}\n", f"seen{n}"),
            (f"through the device\n{later}after {n}\n", f"seen{n} after"),
        ):
            expected += line
            until(partial(has_arrived, expected), "the line arrived")
            (group.folder() / "work" / "logs" / seen).touch()
    group.until_collected()
    assert told.log.decode() == expected


def test_no_line_is_lost_or_doubled_when_answers_fail(yard: Path, web: FakeServer) -> None:
    answers = iter(range(10**9))

    def trouble(process: str, path: str) -> int | None:
        return 503 if next(answers) % 3 == 1 else None

    web.trouble = trouble
    script = "import time\nfor n in range(300): print('line', n, flush=True); time.sleep(0.003)"
    group, told = one(yard, web, script)
    group.until_collected()
    assert told.log == numbered(300)
    assert told.ending is not None


def test_a_web_process_that_is_away_stops_nothing_and_misses_nothing(
    yard: Path, web: FakeServer
) -> None:
    script = "import time\nfor n in range(150): print('line', n, flush=True); time.sleep(0.01)"
    group, told = one(yard, web, script)
    until(lambda: len(told.log) > 100)
    web.close()
    until(lambda: (group.folder() / "exit.json").exists(), "the program ends all the same")
    back = FakeServer(web.port)
    back.told = web.told
    group.until_collected()
    assert told.log == numbered(150)
    back.close()


def waits_for(name: str) -> str:
    """A line of a script that waits until `tell` has been called with the same name."""
    return f"while not os.path.exists({name!r}): time.sleep(0.01)"


def tell(group: Group, name: str) -> None:
    (group.folder() / "work" / name).touch()


def test_files_under_logs_come_while_they_grow(yard: Path, web: FakeServer) -> None:
    script = f"""
import os, time
with open("logs/events.bin", "wb", buffering=0) as events:
    events.write(b"first")
    {waits_for("seen")}
    events.write(b" second")
"""
    group, told = one(yard, web, script)
    until(lambda: told.files.get("logs/events.bin") == b"first")
    assert told.ending is None
    tell(group, "seen")
    group.until_collected()
    assert told.files["logs/events.bin"] == b"first second"


def test_a_rewritten_file_under_logs_is_sent_anew(yard: Path, web: FakeServer) -> None:
    script = f"""
import os, time
open("logs/state", "w").write("a long first state")
{waits_for("seen first")}
open("logs/state", "w").write("another state that is longer still")
{waits_for("seen another")}
open("logs/state", "w").write("short")
"""
    group, told = one(yard, web, script)
    until(lambda: told.files.get("logs/state") == b"a long first state")
    tell(group, "seen first")
    until(lambda: told.files["logs/state"] == b"another state that is longer still")
    tell(group, "seen another")
    group.until_collected()
    assert told.files["logs/state"] == b"short"


def test_a_file_rewritten_while_it_is_sent_is_sent_anew(yard: Path, web: FakeServer) -> None:
    script = f"""
import os, time
open("whole", "w").write("a long first state")
os.rename("whole", "logs/state")
{waits_for("seen")}
"""
    rewritten = b"another state that is longer still"
    group, told = one(yard, web, script)
    state = group.folder() / "work" / "logs" / "state"

    def rewrite(process: str, path: str) -> None:
        if path == "file":
            state.write_bytes(rewritten)

    web.trouble = rewrite
    until(lambda: told.files.get("logs/state") == rewritten)
    tell(group, "seen")
    group.until_collected()
    assert told.files["logs/state"] == rewritten


def test_outputs_come_when_they_rest_and_once(yard: Path, web: FakeServer) -> None:
    script = f"""
import os, time
os.makedirs("outputs/model/1")
open("outputs/model/1/weights", "wb").write(b"w" * 3_000_000)
open("outputs/empty", "w")
{waits_for("seen")}
open("outputs/late name%.txt", "w").write("late")
"""
    group, told = one(yard, web, script)
    until(lambda: {"outputs/model/1/weights", "outputs/empty"} <= told.outputs.keys())
    assert told.ending is None
    tell(group, "seen")
    group.until_collected()
    assert told.outputs == {
        "outputs/model/1/weights": b"w" * 3_000_000,
        "outputs/empty": b"",
        "outputs/late name%.txt": b"late",
    }
    assert sorted(told.uploads) == sorted(told.outputs)


def test_outputs_that_the_web_has_are_not_sent(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, "import time; time.sleep(0.3); open('outputs/x', 'w').write('y')")
    told.outputs["outputs/x"] = b"y"
    group.until_collected()
    assert told.uploads == []


def test_links_and_odd_files_among_outputs_are_left_alone(yard: Path, web: FakeServer) -> None:
    script = """
import os
os.symlink("/etc/hostname", "outputs/link")
os.symlink("/etc", "outputs/folder")
os.mkfifo("outputs/fifo")
open(b"outputs/bad\\xff", "w").write("x")
open("outputs/good", "w").write("x")
"""
    group, told = one(yard, web, script)
    group.until_collected()
    assert list(told.outputs) == ["outputs/good"]
    assert b"its name is not UTF-8" in told.log


def test_a_refused_file_is_named_in_the_log_and_the_rest_is_kept(
    yard: Path, web: FakeServer
) -> None:
    web.trouble = lambda process, path: 413 if path == "output" else None
    script = "open('outputs/x', 'w').write('y'); open('logs/z', 'w').write('z')"
    group, told = one(yard, web, script)
    group.until_collected()
    assert b"outputs/x was not kept: trouble" in told.log
    assert told.files == {"logs/z": b"z"}


def test_a_process_without_outputs_ships_none(yard: Path, web: FakeServer) -> None:
    group, told = one(yard, web, "open('outputs/x', 'w').write('y')", outputs=False)
    group.until_collected()
    assert told.outputs == {}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_everything_goes_over_tls_with_a_ca_of_ones_own(yard: Path, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*make, *map(str, names)], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    web = FakeServer(tls=tls)
    script = "print('safe'); open('outputs/x', 'wb').write(b'y' * 3_000_000)"
    group = Group(yard, web, [spec(python(script))], ca_bundle=str(certificate)).start()
    group.until_collected()
    assert group.told[0].log == b"safe\n"
    assert group.told[0].outputs == {"outputs/x": b"y" * 3_000_000}
    web.close()


def test_a_program_whose_log_is_full_goes_on_and_its_spool_takes_no_disk(
    yard: Path, web: FakeServer
) -> None:
    web.max_log_bytes = 1_000_000
    script = f"""
import os, time
for n in range(8): os.write(1, b"x" * (1 << 20))
{waits_for("seen")}
os.write(1, b"the end")
open("outputs/x", "w").write("y")
"""
    group, told = one(yard, web, script)
    spool = group.folder() / "spool.log"
    until(lambda: spool.exists() and spool.stat().st_size == 8 << 20)
    until(lambda: spool.stat().st_blocks * 512 <= 2 << 20, "what nobody will read is freed")
    reports = told.calls.count("log")
    tell(group, "seen")
    group.until_collected()
    assert told.ending is not None
    assert told.ending["exit_code"] == 0
    assert told.outputs == {"outputs/x": b"y"}
    assert len(told.log) < 3 << 20
    assert reports < 20
