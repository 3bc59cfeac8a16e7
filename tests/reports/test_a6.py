"""Ignore files as editors and shells on any system write them, in an archive and as the page."""

import codecs
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.source.ignore import rules_from
from tests.property_tests import EXAMPLES
from tests.runs.source.archive_builders import zip_of
from tests.runs.source.test_uploads import Browser
from workspace.models import Team
from workspace.platform.errors import Invalid

RULES = "data/\r\n*.log\r\n"
FILES = {"train.py": b"", "data/a.csv": b"1", "a.log": b""}


@pytest.fixture
def browser(bob: User, team: Team) -> Browser:
    return Browser(bob, team)


def ignored(answer: Any) -> dict[str, str]:
    return {file["path"]: file["rule"] for file in answer["plan"]["ignored"]}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF16_LE + RULES.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + RULES.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + RULES.encode("utf-32-le"),
        codecs.BOM_UTF8 + RULES.encode(),
    ],
)
def test_a6_an_ignore_file_is_read_by_its_byte_order_mark(browser: Browser, content: bytes):
    answer = browser.send("archives", zip_of({**FILES, ".amlignore": content}))

    assert ignored(answer) == {
        "data/a.csv": ".amlignore line 1: data/",
        "a.log": ".amlignore line 2: *.log",
    }


@pytest.mark.django_db
def test_a6_odd_bytes_in_a_comment_matter_to_nobody(browser: Browser):
    content = "# für große Daten\ndata/\n".encode("latin-1")

    answer = browser.send("archives", zip_of({**FILES, ".gitignore": content}))

    assert ignored(answer) == {"data/a.csv": ".gitignore line 2: data/"}


@pytest.mark.django_db
def test_a6_a_rule_with_odd_bytes_is_refused_with_its_line(browser: Browser):
    content = "# Daten\ngroß/\n".encode("latin-1")

    in_archive = browser.send("archives", zip_of({**FILES, ".gitignore": content}), 400)
    on_page = browser.post(
        "plan",
        {"files": [], "ignore": {"name": ".gitignore", "text": content.decode("utf-8", "replace")}},
        400,
    )

    assert "Line 2 is not UTF-8" in in_archive["detail"]
    assert on_page["detail"] == in_archive["detail"]


@pytest.mark.django_db
def test_a6_utf_16_without_its_mark_is_never_a_file_without_rules(browser: Browser):
    content = RULES.encode("utf-16-le")

    in_archive = browser.send("archives", zip_of({**FILES, ".amlignore": content}), 400)
    on_page = browser.post(
        "plan", {"files": [], "ignore": {"name": ".amlignore", "text": content.decode()}}, 400
    )

    assert ".amlignore cannot be used. It is UTF-16" in in_archive["detail"]
    assert "Save it as UTF-8" in in_archive["detail"]
    assert on_page["detail"] == in_archive["detail"]


ignore_lines = st.lists(
    st.one_of(
        st.text(max_size=10),
        st.lists(
            st.sampled_from(["*", "**", "/", "!", "\\", "[", "]", "?", "a", "^", "-", "#", " "]),
            max_size=8,
        ).map("".join),
    ),
    max_size=4,
)
paths = st.lists(st.text("ab*[]!", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join)


def said_of(content: bytes, path: str) -> str:
    try:
        return rules_from(".gitignore", content).ignored_by(path)
    except Invalid as refused:
        return refused.message


@pytest.mark.filterwarnings("ignore:Possible (nested set|set difference):FutureWarning")
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(st.binary(max_size=40), ignore_lines.map("\n".join).map(str.encode)), paths)
def test_a6_any_ignore_file_is_used_or_refused_in_words(content: bytes, path: str):
    said = said_of(content, path)

    assert not said or ".gitignore" in said or said.startswith("always: ")
