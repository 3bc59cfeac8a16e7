"""Requirements as the tools that people use write them."""

import codecs
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.preflight.python_packages import requirements_in
from runs.source.text import UnreadableText, decoded
from tests.property_tests import EXAMPLES
from tests.reports.ways_in import Submit, said_of
from tests.runs.preflight.preflight_checks import codes_of
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.requirements import requirement_lines, requirement_of
from workspace.platform.errors import FieldError, Invalid

SCRIPT = b"print('training')\n"
FILE = "requirements.txt"
FIELD = "pip_requirements_file"


def submitted(submit: Submit, text: str | bytes, status: int = 201, **config: object) -> Any:
    content = text if isinstance(text, bytes) else text.encode()
    return submit({"train.py": SCRIPT, FILE: content}, status, pip_requirements_file=FILE, **config)


def problems(*lines: str) -> list[str]:
    with pytest.raises(Invalid) as refused:
        requirement_lines(lines, field=FIELD)
    return [error.message for error in refused.value.errors]


FROZEN = "scikit-learn==1.5.2\r\njoblib==1.4.2\r\n"
MARKED = {
    "utf-8": codecs.BOM_UTF8 + FROZEN.encode(),
    "utf-16-le": codecs.BOM_UTF16_LE + FROZEN.encode("utf-16-le"),
    "utf-16-be": codecs.BOM_UTF16_BE + FROZEN.encode("utf-16-be"),
    "utf-32-le": codecs.BOM_UTF32_LE + FROZEN.encode("utf-32-le"),
    "utf-32-be": codecs.BOM_UTF32_BE + FROZEN.encode("utf-32-be"),
}


@pytest.mark.parametrize("encoding", MARKED)
def test_c1_a_file_is_read_by_its_byte_order_mark(encoding: str):
    lines = decoded(MARKED[encoding]).splitlines()

    assert requirement_lines(lines, field=FIELD) == ["joblib==1.4.2", "scikit-learn==1.5.2"]


@pytest.mark.django_db
def test_c1_what_powershell_writes_is_installed_and_checked(submit: Submit):
    assert submitted(submit, MARKED["utf-16-le"])["warnings"] == []
    wrong = codecs.BOM_UTF16_LE + "tensorflow==2.16.1\r\n".encode("utf-16-le")

    assert "another TensorFlow" in said_of(submitted(submit, wrong, 400), FIELD)[0]


@pytest.mark.django_db
def test_c1_utf_16_without_its_mark_is_refused_in_one_sentence(submit: Submit):
    (said,) = said_of(submitted(submit, FROZEN.encode("utf-16-le"), 400), FIELD)

    assert said.startswith("requirements.txt cannot be read. It is UTF-16")
    assert "Save it as UTF-8" in said


def test_c1_an_odd_letter_in_a_comment_matters_to_nobody():
    text = decoded("tqdm  # für alle\n".encode("latin-1"))

    assert requirement_lines(text.splitlines(), field=FIELD) == ["tqdm"]


def test_c1_a_file_cut_off_within_a_letter_is_refused():
    with pytest.raises(UnreadableText, match="damaged UTF-16"):
        decoded(MARKED["utf-16-le"][:-1])


FROM_CONDA = [f"package{number} @ file:///croot/p_{number}/work" for number in range(40)]


def test_c2_folders_of_a_build_machine_are_refused_once_with_the_way_out():
    said = problems(
        *FROM_CONDA,
        "pywin32==306",
        "pkg-resources==0.0.0",
        "setuptools @ file:///C:/ci/setuptools_1/work",
    )

    assert len(said) == 3
    assert said[0].startswith(
        "Line 1 and 40 more name folders of the machine they were frozen on. Freeze with"
        " `pip list --format=freeze` instead."
    )
    assert "'pywin32==306': It is for Windows only" in said[1]
    assert "pkg-resources==0.0.0" in said[2]
    assert "no such package" in said[2]


@pytest.mark.django_db
def test_c2_packages_that_no_linux_can_install_are_named_when_they_stand_alone(submit: Submit):
    said = said_of(submitted(submit, "pywin32==306\npkg_resources==0.0.0\n", 400), FIELD)

    assert len(said) == 2


@pytest.mark.parametrize("package", ["PyWin32", "pywinpty==2", "tensorflow-metal", "pyobjc-core"])
def test_c2_a_package_of_another_system_is_no_hindrance_where_its_line_says_so(package: str):
    (said,) = problems(package)

    marker = said.partition("end it with")[2].strip()
    assert requirement_lines([f"{package} {marker}"], field=FIELD) == []


@pytest.mark.parametrize(
    "line",
    [
        r"C:\wheels\x.whl",
        r".\x.whl",
        "./x",
        "..",
        "~/x",
        "/opt/x",
        "x-1.0-py3-none-any.whl",
        "dist/x-1.0.tar.gz",
        "file:///home/x",
    ],
)
def test_c2_a_path_of_a_machine_is_called_one(line: str):
    (said,) = problems(line)

    assert "Files and folders of a machine can't be installed" in said


MAC_LINE = "tensorflow==2.16.1 ; sys_platform == 'darwin'\ntqdm\n"


@pytest.mark.django_db
def test_c4_a_line_for_another_system_takes_no_part(submit: Submit):
    assert submitted(submit, MAC_LINE, framework_version="2.15")["warnings"] == []

    for_linux = MAC_LINE.replace("darwin", "linux")
    (said,) = said_of(submitted(submit, for_linux, 400, framework_version="2.15"), FIELD)
    assert "asks for another TensorFlow" in said


@pytest.mark.parametrize(
    ("marker", "takes_part"),
    [
        ("python_version < '3.8'", False),
        ("python_version == '3.11'", True),
        ("python_full_version >= '3.11.1'", True),
        ("platform_system == 'Windows'", False),
        ("os_name == 'posix'", True),
        ("extra == 'dev'", False),
        ("sys_platform == 'darwin' or python_version >= '3.9'", True),
        ("sys_platform == 'linux' and platform_machine == 'none'", False),
    ],
)
def test_c4_markers_are_judged_for_linux_and_the_python_of_the_environment(
    marker: str, takes_part: bool
):
    (pinned, *_) = (f"{name}==1.0 ; {marker}" for name in ("tensorflow", "keras"))

    found = list(requirements_in([pinned], FIELD, "3.11"))

    assert bool(found) is takes_part


def test_c4_a_package_for_another_system_brings_no_import():
    script = "import yaml\n"

    assert codes_of(script, pip_packages=["pyyaml ; sys_platform == 'win32'"]) == [
        ("warn", "package-missing")
    ]
    assert codes_of(script, pip_packages=["pyyaml ; sys_platform == 'linux'"]) == []


def test_c4_a_pin_over_two_lines_is_seen():
    assert codes_of("print()\n", requirements="tensorflow \\\n  ==2.16.1\n") == [
        ("refuse", "tensorflow-pin")
    ]


@pytest.mark.django_db
def test_c4_horovod_for_another_system_is_not_asked_for(submit: Submit):
    submitted(submit, "horovod ; sys_platform == 'darwin'\n", framework_version="2.21")


DIGESTS = [f"{number:064x}" for number in range(4)]
HASHED = "".join(
    f"{name} \\\n" + " \\\n".join(f"    --hash=sha256:{digest}" for digest in DIGESTS) + "\n"
    for name in ("tqdm==4.66.5", "six==1.16.0", 'colorama==0.4.6 ; sys_platform == "linux"')
)


@pytest.mark.django_db
def test_c5_hashes_are_kept_for_the_installer(submit: Submit):
    submitted(submit, f"# by pip-compile\n{HASHED}")

    lines = requirement_lines(HASHED.splitlines(), field=FIELD)
    spec = EnvironmentSpec.of("2.21", packages=lines)
    assert lines[2].split(" --hash=sha256:") == ["tqdm==4.66.5", *DIGESTS]
    assert [requirement_of(line).name for line in lines] == ["colorama", "six", "tqdm"]
    assert set(lines) <= set(spec.requirements)


def test_c5_environments_with_other_hashes_are_others():
    one, other = (
        EnvironmentSpec.of("2.21", packages=[f"tqdm==4.66.5 --hash=sha256:{digest}"])
        for digest in DIGESTS[:2]
    )

    assert one.digest("local") != other.digest("local")


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        (
            "pycocotools @ git+https://HOST/cocodataset/cocoapi.git@v2#subdirectory=PythonAPI",
            "pycocotools @ https://HOST/cocodataset/cocoapi/archive/v2.tar.gz#subdirectory=PythonAPI",
        ),
        ("git+https://HOST/o/r", "r @ https://HOST/o/r/archive/HEAD.tar.gz"),
        ("-e git+https://HOST/o/r.git@a1b2#egg=x", "x @ https://HOST/o/r/archive/a1b2.tar.gz"),
        ("--editable=git+https://HOST/o/r#egg=x", "x @ https://HOST/o/r/archive/HEAD.tar.gz"),
        ("x[gpu] @ git+https://u:secret@HOST/o/r", "x[gpu] @ https://HOST/o/r/archive/HEAD.tar.gz"),
        ("x @ git+ssh://git@HOST:22/o/r.git@v1", "x @ https://HOST/o/r/archive/v1.tar.gz"),
        ("git+git@HOST:o/r.git#egg=x", "x @ https://HOST/o/r/archive/HEAD.tar.gz"),
        (
            "x @ git+https://gitlab.HOST/g/s/r.git@a/b",
            "x @ https://gitlab.HOST/g/s/r/-/archive/a/b/r-a-b.tar.gz",
        ),
        ("x @ git+https://bitbucket.HOST/o/r@v1", "x @ https://bitbucket.HOST/o/r/get/v1.tar.gz"),
    ],
)
def test_c5_a_repository_is_answered_with_the_address_that_would_do(line: str, instead: str):
    (said,) = problems(line)

    assert said.endswith(f"Write: {instead}")
    assert requirement_lines([instead], field=FIELD)


@pytest.mark.parametrize(
    "line",
    ["x @ hg+https://HOST/o/r", "svn+http://HOST/r", "x @ git+https://HOST", "git+https://["],
)
def test_c5_another_repository_is_answered_in_words(line: str):
    (said,) = problems(line)

    assert "only from archives" in said
    assert "NAME @ https://" in said


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([f"numpy; {'(' * 5000}"], "longer than 1000 characters"),
        (["-x"] * 2001, "more than 2,000 lines"),
        (["numpy" + " " * 1_000_000 + "x"], "longer than 1000 characters"),
    ],
)
def test_work_on_lines_is_bounded(lines: list[str], words: str):
    assert words in problems(*lines)[-1]


@pytest.mark.parametrize("address", ["https://[::1/a.whl", "https:///a.whl", "https://:443/a.whl"])
def test_an_address_without_a_machine_is_refused(address: str):
    assert "by an https:// address" in problems(f"numpy @ {address}")[0]


@pytest.mark.django_db
def test_a_file_that_is_no_list_of_requirements_is_not_read(submit: Submit):
    rows = "\n".join(f"0.{number},{number * 7919 % 99991}" for number in range(200_000))

    [said] = said_of(submitted(submit, rows, 400), FIELD)

    assert "requirements.txt is larger than 2.00 MB" in said


PIECES = ["numpy", "==1.0", " @ ", "git+", "file:", "https://", "://[", ";", "--hash=sha256:"]
PIECES += ["\\", " sys_platform == 'x'", "-e ", "[a]", "#", "C:\\", "@", "\0", "\ufeff", "$", "{"]
pieces = st.one_of(st.text(max_size=12), st.sampled_from(PIECES))


def errors_of(lines: list[str]) -> list[FieldError]:
    try:
        requirement_lines(lines, field=FIELD)
    except Invalid as refused:
        return list(refused.errors)
    return []


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.lists(pieces, max_size=8).map("".join), max_size=4))
@pytest.mark.slow
def test_any_lines_are_read_or_refused_in_words(given_lines: list[str]):
    lines = "\n".join(given_lines).splitlines()
    list(requirements_in(lines, FIELD))
    errors = errors_of(lines)

    assert {error.field for error in errors} <= {FIELD}
    assert all(error.message for error in errors)
    if not errors:
        found = requirement_lines(lines, field=FIELD)
        assert requirement_lines(found, field=FIELD) == found
        assert all(requirement_of(line).name for line in found)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_text_or_refused_in_words(content: bytes):
    with suppress(UnreadableText):
        decoded(content).encode()
