"""A2, A5, A8: archives of the programs that Linux and macOS have keep names, bytes and modes."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runs.source.ignore import IgnoreRules
from runs.source.paths import errors_in
from tests.property_tests import EXAMPLES
from tests.runs.source.test_uploads import Browser
from workspace.models import Team

pytestmark = pytest.mark.django_db

# Each writes the current directory to the file OUT, or to its output.
COMMANDS = [
    "zip -qr OUT .",
    "zip -qr -0 OUT .",
    "zip -qrDX OUT .",
    "zip -qr -fz OUT .",
    "zip -qr - .",
    "7z a -tzip OUT .",
    "7z a -tzip -mx=0 OUT .",
    "7z a -tzip -mx=9 -mmt=off -mcu=on OUT .",
    "7z a -tzip -mcl=on -so x .",
    "7z a -ttar OUT .",
    "7z a -ttar -mm=pax -so x .",
    "bsdtar --format=ustar -cf OUT .",
    "bsdtar --format=pax -czf OUT .",
    "bsdtar --format=gnutar -czf - .",
    "bsdtar --format=zip -cf OUT .",
    "bsdtar --format=zip -cf - .",
    "bsdtar --format=zip --options=zip:zip64,zip:compression=store -cf OUT .",
    "tar -czf OUT .",
    "tar --format=ustar -cf OUT .",
    "tar --format=pax -V label -cf - .",
    "tar --format=gnu -V label -G -cf OUT .",
]
# The longest paths of the format ustar, beside the ./ of the current directory.
USTAR_BYTES = 98

Directory = Mapping[str, tuple[bytes, bool]]

LONG = "long/" + "x" * 120
DIRECTORY = {
    "train.py": (b"print(1)\n", False),
    "tools/prep.sh": (b"#!/bin/sh\n", True),
    "empty": (b"", True),
    "-rf": (b"a dash", False),
    "@file": (b"an at", False),
    "a 'b' \"c\" %d=?*:<>|.txt": (b"characters", False),
    "donn\u00e9es/\u00e9t\u00e9.csv": (b"composed", True),
    "re\u0301sume\u0301/e\u0301te\u0301.csv": (b"decomposed", False),
    "\u65e5\u672c\u8a9e/\u30c7\u30fc\u30bf.csv": (b"in Japanese", False),
    "\U0001f600": (b"outside the first plane", False),
    f"{LONG}/{LONG}/z.py": (b"long", True),
    "\u00e9" * 127: (b"a long part", False),
    "noise.bin": (hashlib.shake_128().digest(100_000), False),
}

CHARACTERS = st.sampled_from("abA .-~$#@%='\"\u00e9\u0301\u00df\u65e5\U0001f600")
# zip takes what is called - for its standard input.
NAMES = st.text(CHARACTERS, min_size=1).filter(lambda name: name != "-")
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def is_usable(directory: Directory) -> bool:
    rules = IgnoreRules()
    return not any(errors_in(directory)) and not any(map(rules.ignored_by, directory))


DIRECTORIES = (
    st.dictionaries(PATHS, st.tuples(st.binary(), st.booleans()), max_size=6)
    .map(lambda files: {"train.py": (b"", False), **files})
    .filter(is_usable)
)


def packed(directory: Directory, command: str, language: str) -> bytes:
    with TemporaryDirectory() as name:
        folder, out = Path(name) / "source", Path(name) / "out"
        for path, (body, executable) in directory.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
            file.chmod(0o755 if executable else 0o644)
        output = output_of(command.replace("OUT", str(out)), folder, language)
        made = next(Path(name).glob("out*"), None)
        return made.read_bytes() if made else output


def output_of(command: str, folder: Path, language: str = "C.UTF-8") -> bytes:
    done = subprocess.run(
        command.split(),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": language},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def program(command: str) -> None:
    program = command.partition(" ")[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


@pytest.fixture
def browser(bob: User, team: Team) -> Browser:
    return Browser(bob, team)


@pytest.mark.parametrize("command", COMMANDS)
@settings(
    max_examples=max(EXAMPLES // 10, 1),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(DIRECTORIES, st.sampled_from(["C.UTF-8", "C"]))
@example(DIRECTORY, "C.UTF-8")
@example(DIRECTORY, "C")
def test_a5_whatever_a_program_packs_is_read_as_it_was(
    browser: Browser, command: str, directory: Directory, language: str
):
    if "ustar" in command:
        directory = {
            path: file for path, file in directory.items() if len(path.encode()) <= USTAR_BYTES
        }

    answer = browser.send("archives", packed(directory, command, language))

    assert {file["path"]: (file["digest"], file["executable"]) for file in answer["files"]} == {
        path: (hashlib.sha256(body).hexdigest(), executable)
        for path, (body, executable) in directory.items()
    }


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("7z a -t7z -ms=on OUT .", "in the format 7-Zip: send a .zip or a .tar.gz"),
        ("7z a -tzip -mm=Deflate64 OUT .", "method 9; use deflate"),
        ("7z a -tzip -mm=LZMA OUT .", "method 14; use deflate"),
        ("7z a -tzip -psecret OUT .", "data.csv: it is encrypted"),
        ("bsdtar -cJf OUT .", "in the format xz: send a .zip or a .tar.gz"),
        ("bsdtar --format=cpio -cf OUT .", "no archive: send a .zip or a .tar.gz"),
    ],
)
def test_what_is_not_read_is_refused_with_a_way_out(browser: Browser, command: str, why: str):
    archive = packed({"data.csv": (b"1,2\n" * 1000, False)}, command, "C.UTF-8")

    assert why in browser.send("archives", archive, 400)["detail"]


@pytest.mark.parametrize(
    ("command", "is_read"),
    [
        ("bsdtar --format=pax -cf - .", False),
        ("bsdtar --format=pax --no-read-sparse -cf - .", True),
        ("bsdtar --format=zip -cf - .", True),
        ("tar --format=gnu -S -cf - .", False),
        ("tar --format=pax -S -cf - .", False),
        ("tar -cf - .", True),
    ],
)
def test_a_file_with_holes_is_read_where_they_are_packed_as_zeros(
    browser: Browser, tmp_path: Path, command: str, is_read: bool
):
    with open(tmp_path / "data.bin", "wb") as file:
        file.truncate(500_000)
    archive = output_of(command, tmp_path)

    answer = browser.send("archives", archive, 200 if is_read else 400)

    if is_read:
        assert answer["files"][0]["digest"] == hashlib.sha256(bytes(500_000)).hexdigest()
    else:
        assert "data.bin: it is a sparse file; pack its holes as zeros" in answer["detail"]
