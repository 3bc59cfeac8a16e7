"""Secrets in logs: masked in every form, however the text is cut, with offsets as before."""

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runs.logs.log_file import LogFile
from runs.logs.masking import CoveringMask, SecretsMask

TOKEN = "p4ss w0rd/+é?"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSj\n-----END KEY-----\n"
ACCOUNT = json.dumps({"id": "trainer", "private_key": KEY, "client_secret": "Zx81-Spectrum+48k"})
# Overlapping letters make beginnings of secrets inside secrets.
LETTERS = st.text("ab\n=", max_size=40)
SECRETS = st.lists(st.text("ab", min_size=6, max_size=14), min_size=1, max_size=3)


def sent(path: Path, text: bytes, cuts: list[int], mask: SecretsMask) -> bytes:
    """Store a log as a runner does, whose last chunks end at `cuts`; return what is stored."""
    log = LogFile(path, keeps_index=False)
    path.unlink(missing_ok=True)
    for end in sorted(cuts):
        size = log.size()
        log.append(size, text[size:end], mask)
        assert log.size() <= max(end, size)
    log.append(log.size(), text[log.size() :], mask, is_final=True)
    return log.read(0, len(text) + 1)


@given(text=LETTERS, secrets=SECRETS, cuts=st.lists(st.integers(0, 40), max_size=6))
@example(text="aabaabaa", secrets=["aabaab", "abaabaaa"], cuts=[7])
@example(text="xaaaaaa", secrets=["aaaaaa", "aaaaaab"], cuts=[3, 5])
def test_any_split_gives_the_same_log_of_the_same_length_without_a_secret(
    tmp_path_factory: pytest.TempPathFactory, text: str, secrets: list[str], cuts: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "masked.log"
    mask = SecretsMask(secrets)
    content = text.encode()

    stored = sent(path, content, cuts, mask)

    assert stored == mask.masked(content, is_final=True)
    assert len(stored) == len(content)
    assert not any(secret.encode() in stored for secret in secrets)
    assert all(was == now or now == ord("*") for was, now in zip(content, stored, strict=True))


@given(secret=st.text(min_size=6, max_size=40), cuts=st.lists(st.integers(0, 500), max_size=4))
@example(secret=TOKEN, cuts=[])
def test_each_form_of_a_secret_is_masked(
    tmp_path_factory: pytest.TempPathFactory, secret: str, cuts: list[int]
) -> None:
    lines = [line.strip() for line in secret.replace("\r", "\n").split("\n")]
    secret = max(lines, key=len)
    if len(secret) < 6 or set(secret) & {"*", "\0"}:
        return
    forms = [
        secret.encode(),
        quote(secret).encode(),
        quote_plus(secret).encode(),
        json.dumps(secret)[1:-1].encode(),
        base64.b64encode(secret.encode()),
        base64.urlsafe_b64encode(secret.encode()),
    ]
    log = b"begin\n" + b"\n".join(b"<" + form + b">" for form in forms) + b"\nend\n"
    mask = SecretsMask([secret])

    stored = sent(tmp_path_factory.getbasetemp() / "forms.log", log, cuts, mask)

    for line in stored.split(b"\n")[1:-2]:
        assert set(line[1:-1].rstrip(b"=")) <= set(b"*"), line


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "user-1:"])
def test_a_secret_inside_what_is_encoded_in_base64_is_masked(before: str) -> None:
    printed = base64.b64encode(f"{before}{TOKEN}@host".encode())

    stored = SecretsMask([TOKEN]).masked(printed, is_final=True)

    decoded = base64.b64decode(stored.replace(b"*", b"A"))
    assert b"**********" in stored
    assert TOKEN[1:-1].encode() not in decoded


@pytest.mark.parametrize(
    "printed",
    [
        KEY,
        ACCOUNT,
        KEY.replace("\n", "\r\n"),
        "    " + KEY.replace("\n", "\n    "),
        json.dumps({"key": KEY}),
        base64.encodebytes(KEY.encode()).decode(),
        "secret is Zx81-Spectrum+48k.",
    ],
)
def test_lines_and_words_of_a_key_file_are_masked(printed: str) -> None:
    stored = SecretsMask([KEY, ACCOUNT]).text(printed)

    assert len(stored) == len(printed)
    for part in ("MIIEvQIBADANBgkqhkiG9w0B", "AQEFAASCBKcwggSj", "Zx81-Spectrum", "LS0tLS1CRUdJTi"):
        assert part not in stored


def test_other_text_stays_as_it_is() -> None:
    mask = SecretsMask([TOKEN, "short", "a\nb\n"])
    text = "step 1: loss 0.5\nshort a b ümläut 100%\r\n\0\x1b[0m\n".encode() + b"\xff\xfe"

    assert mask.masked(text, is_final=True) == text
    assert SecretsMask(["short"]).masked(text, is_final=False) == text


def test_a_secret_that_is_cut_off_by_the_end_of_the_log_is_masked(tmp_path: Path) -> None:
    mask = SecretsMask(["correct-horse-battery"])

    assert sent(tmp_path / "log", b"it is correct-horse", [], mask) == b"it is *************"
    assert sent(tmp_path / "log", b"it is corr", [], mask) == b"it is corr"


def test_a_very_long_secret_holds_back_little(tmp_path: Path) -> None:
    value = "abcdefgh" * 8000
    log = LogFile(tmp_path / "log", keeps_index=False)

    text = b"x" * 100 + value.encode()[:10_000]
    size = log.append(0, text, SecretsMask([value]))

    assert len(text) - size < 600
    assert log.read(0, size) == b"x" * 100 + b"*" * (size - 100)


def test_a_repeat_and_a_gap_change_nothing(tmp_path: Path) -> None:
    mask = SecretsMask(["correct-horse"])
    log = LogFile(tmp_path / "log", keeps_index=False)
    text = b"one correct-horse\ntwo correct-horse\n"

    assert log.append(0, text[:10], mask) == 4
    assert log.append(10, text[10:], mask) == 4
    assert log.append(0, text[:20], mask) == 20
    assert log.append(5, text[5:], mask) == len(text)
    assert log.read(0, 100) == b"one *************\ntwo *************\n"


def test_what_cannot_be_read_covers_all_but_the_line_breaks() -> None:
    assert CoveringMask().masked("a é\nb".encode(), is_final=False) == b"****\n*"
