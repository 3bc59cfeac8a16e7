import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from runs.ignore import Rules, ignore_file_among, rules_from
from workspace.errors import Invalid


def kept(rules: str, *paths: str) -> list[str]:
    found = Rules(".amlignore", rules)
    return [path for path in paths if not found.left_out_by(path)]


def test_the_rule_that_leaves_a_file_out_is_named_with_its_line():
    rules = Rules(".gitignore", "# data\n\n*.log\n/build/\n")

    assert rules.left_out_by("logs/a.log") == ".gitignore line 3: *.log"
    assert rules.left_out_by("build/x/y.py") == ".gitignore line 4: /build/"
    assert rules.left_out_by("src/build/y.py") == ""


def test_a_later_rule_takes_a_file_back_in():
    rules = "*.csv\n!keep.csv\ndata/\n!data/small.csv\n"

    assert kept(rules, "a.csv", "keep.csv", "data/big.csv", "data/small.csv") == [
        "keep.csv",
        "data/small.csv",
    ]


def test_rules_are_read_from_windows_files_too():
    assert kept("\ufeff*.log\r\n!x.log\r\n", "a.log", "x.log", "a.py") == ["x.log", "a.py"]


@pytest.mark.parametrize(
    "path",
    [".git/config", "sub/.git/HEAD", "a/__pycache__/x.py", "a.pyc", ".DS_Store", "__MACOSX/._a"],
)
def test_what_is_never_source_is_always_left_out(path: str):
    assert Rules(".gitignore", "!*").left_out_by(path).startswith("always: ")


def test_amlignore_counts_before_gitignore_and_only_at_the_root():
    assert ignore_file_among({".gitignore", ".amlignore"}) == ".amlignore"
    assert ignore_file_among({".gitignore", "sub/.amlignore"}) == ".gitignore"
    assert ignore_file_among({"sub/.gitignore"}) == ""


def test_an_ignore_file_that_is_not_text_is_refused():
    with pytest.raises(Invalid, match="not UTF-8"):
        rules_from(".amlignore", b"\xff\xfe*")


@pytest.mark.parametrize(("text", "line"), [("a\n!\n", 2), ("**/a/**/b/**/c/**\n", 1)])
def test_a_line_that_is_no_rule_is_named(text: str, line: int):
    with pytest.raises(Invalid, match=f"Line {line} "):
        Rules(".gitignore", text)


def test_too_many_rules_are_refused():
    with pytest.raises(Invalid, match=r"more than 10,000 rules"):
        Rules(".gitignore", "a\n" * 10_001)


def test_10000_rules_are_read_and_used():
    rules = Rules(".gitignore", "\n".join(f"folder{number}/*.tmp" for number in range(10_000)))

    assert rules.left_out_by("folder9999/a.tmp") == ".gitignore line 10000: folder9999/*.tmp"
    assert rules.left_out_by("folder9999/a.py") == ""


def test_many_stars_do_not_make_a_rule_slow():
    rules = Rules(".gitignore", "*a" * 20 + "b")

    # With plain backtracking this one match takes years.
    assert rules.left_out_by("a" * 250) == ""


parts = st.text("ab.*?[]!-", min_size=1, max_size=6)


# Python hints that it may read such classes as sets one day; today it does not.
@pytest.mark.filterwarnings("ignore:Possible (nested set|set difference):FutureWarning")
@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.lists(parts | st.just("**"), min_size=1, max_size=3).map("/".join), max_size=4),
    st.lists(st.text("ab.-", min_size=1, max_size=5), min_size=1, max_size=3).map("/".join),
)
def test_rules_mean_what_the_library_says_they_mean(lines: list[str], path: str):
    try:
        rules = Rules(".gitignore", "\n".join(lines))
    except Invalid:
        return
    written = [line for line in lines if line.strip()]

    assert bool(rules.left_out_by(path)) == GitIgnoreSpec.from_lines(written).match_file(path)


GIT_RULES = [
    "*.log",
    "!important.log",
    "/root-only.txt",
    "build/",
    "docs/*.md",
    "**/cache",
    "data/**/raw",
    "report.[0-9]*.[0-9]*.[0-9]*.[0-9]*.json",
    "[Tt]humbs.db",
    "\\!bang",
    "\\#hash",
    "a?c",
]
GIT_PATHS = [
    "a.log",
    "x/a.log",
    "important.log",
    "root-only.txt",
    "x/root-only.txt",
    "build/out.py",
    "x/build/out.py",
    "docs/a.md",
    "docs/x/a.md",
    "x/docs/a.md",
    "deep/down/cache/f",
    "data/raw/f",
    "data/1/2/raw/f",
    "data/1/raws/f",
    "report.1.2.3.44.json",
    "report.1.2.3.json",
    "thumbs.db",
    "!bang",
    "#hash",
    "abc",
    "abbc",
]


def test_rules_mean_what_git_says_they_mean(tmp_path: Path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("\n".join(GIT_RULES))
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=tmp_path,
        input="\n".join(GIT_PATHS),
        capture_output=True,
        text=True,
        check=True,
    )
    ignored_by_git = set(asked.stdout.split("\n")) - {""}
    rules = Rules(".gitignore", "\n".join(GIT_RULES))

    assert {path for path in GIT_PATHS if rules.left_out_by(path)} == {
        name.strip('"') for name in ignored_by_git
    }
