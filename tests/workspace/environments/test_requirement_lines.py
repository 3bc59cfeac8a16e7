"""Which requirements may be asked for, and what an environment is named by."""

import pytest

from workspace.compute.environment_spec import CURATED, EnvironmentSpec, serving_packages
from workspace.compute.requirements import requirement_lines
from workspace.platform.errors import Invalid


def test_requirements_come_sorted_in_one_spelling_without_comments() -> None:
    lines = [
        "\ufeff# what we need",
        "Scikit_Learn >= 1.5  # for the digits",
        "",
        "pandas[excel]==2.2.*; python_version > '3.8'",
        "numpy \\",
        "  < 3",
        "https-everywhere",
    ]
    assert requirement_lines(lines, field="pip_packages") == [
        "https-everywhere",
        "numpy<3",
        'pandas[excel]==2.2.*; python_version > "3.8"',
        "scikit-learn>=1.5",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-e .", "Editable"),
        ("--editable=./x", "Editable"),
        ("-r more.txt", "write their lines here"),
        ("--index-url http://example.org", "chosen by the installation"),
        ("--extra-index-url=http://example.org", "chosen by the installation"),
        ("--no-binary :all:", "Options"),
        ("numpy==1.0 --hash=sha256:00", "64 hexadecimal digits"),
        ("x @ file:///etc/passwd", "folder of the machine"),
        ("x @ git+https://example.org/x", "only from archives"),
        ("x @ http://example.org/x.whl", "https://"),
        ("git+https://example.org/x", "only from archives"),
        ("https://example.org/x.whl", "NAME @ https://example.org/x.whl"),
        ("./wheels/x.whl", "Files and folders"),
        ("numpy; rm -rf /", "not a requirement"),
        ("numpy pandas", "not a requirement"),
        ("x" * 2000, "longer"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_with_the_reason(line: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        requirement_lines(["numpy", line], field="pip_packages")
    (error,) = refused.value.errors
    assert error.field == "pip_packages"
    assert "Line 2" in error.message
    assert line[:40] in error.message
    assert words in error.message


def test_every_bad_line_is_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        requirement_lines(["-e .", "ok", "-r x"], field="requirements.txt")
    assert len(refused.value.errors) == 2


def test_too_many_requirements_are_refused() -> None:
    with pytest.raises(Invalid, match="600 requirements are more than the 500 allowed"):
        requirement_lines([f"package{number}" for number in range(600)], field="pip_packages")
    with pytest.raises(Invalid, match="more than 2,000 lines; at most 500 requirements") as refused:
        requirement_lines([f"package{number}" for number in range(5000)], field="pip_packages")
    assert len(refused.value.errors) == 1


def test_equal_specifications_have_one_digest_and_others_another() -> None:
    plain = EnvironmentSpec.of("2.21", packages=["a", "b"])
    assert plain == EnvironmentSpec.of("2.21", packages=["b", "a", "a"])
    others = [
        EnvironmentSpec.of("2.21", packages=["a"]),
        EnvironmentSpec.of("2.15", packages=["a", "b"]),
        EnvironmentSpec.of("2.21", packages=["a", "b"], gpu=True),
        EnvironmentSpec.of("2.21", packages=["a", "b"], python="3.12"),
    ]
    assert len({each.digest("local") for each in [plain, *others]}) == 5
    assert plain.digest("local") != plain.digest("docker")
    assert EnvironmentSpec.from_json(plain.to_json()) == plain


def test_an_unknown_framework_version_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid, match=r"Use 2\.21, 2\.15"):
        EnvironmentSpec.of("1.13")


@pytest.mark.parametrize("version", list(CURATED))
def test_a_target_with_gpus_gets_the_build_for_them_and_never_both(version: str) -> None:
    with_gpu, without = (EnvironmentSpec.of(version, gpu=gpu) for gpu in (True, False))
    assert with_gpu.requirements[0].startswith("tensorflow[and-cuda]==")
    assert without.requirements[0].startswith("tensorflow-cpu==")
    assert with_gpu.overrides == ["tensorflow-cpu ; sys_platform == 'none'"]
    assert without.overrides == ["tensorflow ; sys_platform == 'none'"]


@pytest.mark.parametrize("version", list(CURATED))
def test_the_model_server_gets_the_protos_of_its_tensorflow(version: str) -> None:
    packages = serving_packages(version)
    assert f"tensorflow-serving-api=={CURATED[version].tensorflow}" in packages
    assert any(package.startswith("httptools") for package in packages)
