"""Conda's environment files and package names are read strictly, and refused in sentences."""

import pytest

from runs.launch.conda_file import CondaDependencies, conda_lines, read_conda_file
from workspace.platform.errors import Invalid


def problem_with(content: str) -> str:
    with pytest.raises(Invalid) as caught:
        read_conda_file(content.encode())
    [error] = caught.value.errors
    assert error.field == "conda_dependencies_file"
    return error.message


def test_a_file_as_azure_ml_writes_it_is_read():
    read = read_conda_file(
        b"""
name: project_environment
channels:
- anaconda
- conda-forge
dependencies:
- python=3.10
- scikit-learn>=1.5
- pip:
  - six==1.17.0
"""
    )
    assert read == CondaDependencies(("python=3.10", "scikit-learn>=1.5"), ("six==1.17.0",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("dependencies: [", "is not YAML"),
        ("- ffmpeg", "with a list of dependencies"),
        ("dependencies: ffmpeg", "with a list of dependencies"),
        ("{dependencies: [ffmpeg], channels: [bioconda]}", "'bioconda' can't be used"),
        ("{dependencies: [ffmpeg], variables: {A: 1}}", "It has variables"),
        ("dependencies: [{npm: [left-pad]}]", "neither a package nor a list"),
        ("dependencies: [--channel=https://example.com]", "options can't be given"),
        ("dependencies: ['https://example.com::ffmpeg']", "is not a package of conda"),
        ("dependencies: [!!python/object/apply:os.system ['true']]", "is not YAML"),
        ("dependencies: [2026-13-45]", "is not YAML"),
        ("dependencies: [0b_]", "is not YAML"),
        ("dependencies: [!!bool perhaps]", "is not YAML"),
        ("dependencies: [!!timestamp today]", "is not YAML"),
        ("dependencies: [!!int '']", "is not YAML"),
        ("[" * 10_000, "is not YAML"),
        (f"dependencies: [0x{'f' * 5000}]", "a whole number is neither"),
        ("{dependencies: [ffmpeg], channels: [{a: b}]}", "{'a': …} can't be used"),
        ("{dependencies: [ffmpeg], 2026-01-01: x}", "It has date"),
        (f"dependencies: [{'ffmpeg, ' * 501}]", "501 packages are more than 500"),
        (f"dependencies: [{{pip: [{'a, ' * 2001}]}}]", "more than 2,000 lines for pip"),
        ("dependencies: [ffmpeg]" + " " * 200_000, "larger than 200 kB"),
    ],
)
def test_what_cannot_be_used_is_named(content: str, words: str):
    assert words in problem_with(content)


def test_aliases_do_not_make_a_short_file_endless():
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    content = "\n".join(
        ["a0: &a0 [x]", *levels, "dependencies: [*a39, {npm: *a39}]", "channels: *a39"]
    )

    with pytest.raises(Invalid) as refused:
        read_conda_file(content.encode())

    assert max(len(error.message) for error in refused.value.errors) < 500


@pytest.mark.parametrize(
    "line", ["ffmpeg", "numpy=1.26", "scikit-learn >=1.5,<2", "python 3.11.*", "libgcc=13=h1234_0"]
)
def test_versions_may_be_written_in_all_of_condas_ways(line: str):
    assert conda_lines([line], field="conda_packages") == [line]
