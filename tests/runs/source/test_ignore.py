import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from runs.source.ignore import IgnoreRules, ignore_file_among, rules_from
from tests.property_tests import EXAMPLES
from workspace.platform.errors import Invalid

pytestmark = pytest.mark.slow


def kept(rules: str, *paths: str) -> list[str]:
    found = IgnoreRules(".amlignore", rules)
    return [path for path in paths if not found.ignored_by(path)]


def test_the_rule_that_leaves_a_file_out_is_named_with_its_line():
    rules = IgnoreRules(".gitignore", "# data\n\n*.log\n/build/\n")

    assert rules.ignored_by("logs/a.log") == ".gitignore line 3: *.log"
    assert rules.ignored_by("build/x/y.py") == ".gitignore line 4: /build/"
    assert rules.ignored_by("src/build/y.py") == ""


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
    assert IgnoreRules(".gitignore", "!*").ignored_by(path).startswith("always: ")


def test_amlignore_counts_before_gitignore_and_only_at_the_root():
    assert ignore_file_among({".gitignore", ".amlignore"}) == ".amlignore"
    assert ignore_file_among({".gitignore", "sub/.amlignore"}) == ".gitignore"
    assert ignore_file_among({"sub/.gitignore"}) == ""


def test_an_ignore_file_that_is_not_text_is_refused():
    with pytest.raises(Invalid, match="damaged UTF-16"):
        rules_from(".amlignore", b"\xff\xfe*")


@pytest.mark.parametrize(("text", "line"), [("a\n!\n", 2), ("**/a/**/b/**/c/**\n", 1)])
def test_a_line_that_is_no_rule_is_named(text: str, line: int):
    with pytest.raises(Invalid, match=f"Line {line} "):
        IgnoreRules(".gitignore", text)


def test_too_many_rules_are_refused():
    with pytest.raises(Invalid, match=r"more than 10,000 rules"):
        IgnoreRules(".gitignore", "a\n" * 10_001)


def test_10000_rules_are_read_and_used():
    rules = IgnoreRules(
        ".gitignore", "\n".join(f"folder{number}/*.tmp" for number in range(10_000))
    )

    assert rules.ignored_by("folder9999/a.tmp") == ".gitignore line 10000: folder9999/*.tmp"
    assert rules.ignored_by("folder9999/a.py") == ""


def test_many_stars_do_not_make_a_rule_slow():
    rules = IgnoreRules(".gitignore", "*a" * 20 + "b")

    # With plain backtracking this one match takes years.
    assert rules.ignored_by("a" * 250) == ""


parts = st.text("ab.*?[]!-", min_size=1, max_size=6)


# Python hints that it may read such classes as sets one day; today it does not.
names = st.text("ab.-", min_size=1, max_size=5).filter(lambda name: name not in {".", ".."})


@pytest.mark.filterwarnings("ignore:Possible (nested set|set difference):FutureWarning")
@settings(max_examples=5 * EXAMPLES, deadline=None)
@given(
    st.lists(st.lists(parts | st.just("**"), min_size=1, max_size=3).map("/".join), max_size=4),
    st.lists(names, min_size=1, max_size=3).map("/".join),
)
def test_rules_mean_what_the_library_says_they_mean(lines: list[str], path: str):
    try:
        rules = IgnoreRules(".gitignore", "\n".join(lines))
    except Invalid:
        return
    written = [line for line in lines if line.strip()]

    assert bool(rules.ignored_by(path)) == GitIgnoreSpec.from_lines(written).match_file(path)


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
    rules = IgnoreRules(".gitignore", "\n".join(GIT_RULES))

    assert {path for path in GIT_PATHS if rules.ignored_by(path)} == {
        name.strip('"') for name in ignored_by_git
    }


def test_10000_names_and_endings_cost_next_to_nothing_for_any_number_of_files() -> None:
    rules = [line for number in range(5000) for line in (f"name{number}/", f"*.end{number}")]
    found = IgnoreRules(".gitignore", "\n".join(rules))
    for number in range(2000):
        assert found.ignored_by(f"src/a/b/{number}.py") == ""
    assert found.ignored_by("src/name7/a/b.py") == ".gitignore line 15: name7/"
    assert found.ignored_by("src/name7") == ""
    assert found.ignored_by("src/a.end3/b.py") == ".gitignore line 8: *.end3"


def test_a_folder_that_is_left_out_costs_no_more_for_what_is_in_it() -> None:
    rules = ["/data/raw*/", *(f"folder{number}/*.tmp" for number in range(1000))]
    found = IgnoreRules(".gitignore", "\n".join(rules))
    for number in range(100_000):
        assert found.ignored_by(f"data/raw1/{number}.bin") == ".gitignore line 1: /data/raw*/"


@pytest.mark.parametrize(
    ("rules", "paths"),
    [
        ([f"folder{n}/*.tmp" for n in range(10_000)], [f"src/{n}.py" for n in range(2000)]),
        (["!keep.py", *(f"name{n}" for n in range(9_999))], [f"src/{n}.py" for n in range(2000)]),
        ([f"**/a*/**/b*/**/c{n}" for n in range(100)], ["a/b/" * 500 + "x.py"]),
        (["*a*b*c*d*e*f"] * 10_000, ["abcde" * 800] * 100),
    ],
    ids=["folders", "with one that takes back", "a deep path", "a long name"],
)
def test_rules_and_files_that_are_too_many_together_are_refused_in_words(
    rules: list[str], paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.source.ignore.MAX_WORK", 100_000)
    found = IgnoreRules(".gitignore", "\n".join(rules))
    with pytest.raises(Invalid, match="take too long"):
        any(found.ignored_by(path) for path in paths)
