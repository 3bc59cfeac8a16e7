"""Secrets in logs: found in the forms that programs print them in, replaced by asterisks.

A mask keeps the number of bytes, so that offsets in a log stay those of what the program wrote. It
never needs to see more than the unfinished last line: no form of a secret has a line break in it.
"""

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import quote, quote_plus

from ahocorasick_rs import BytesAhoCorasick, MatchKind

SHORTEST_MASKED = 6
SHORTEST_WORD = 12
LONGEST_INSIDE_BASE64 = 4096
PIECE = 256
LINE_BREAKS = re.compile(r"[\r\n]+")
# What stands alone in key files, JSON, URLs and assignments, and may be printed alone.
WORD = re.compile(rf"[^\s\"'`=:;,@&?(){{}}\[\]<>]{{{SHORTEST_WORD},}}=*")


class LogMask(Protocol):
    def masked(self, text: bytes, *, is_final: bool) -> bytes:
        """Return `text`, which continues a log, with asterisks for secrets.

        Unless the log ends with it, an end that may be the beginning of a secret is left out; the
        next call starts there.
        """

    def text(self, text: str) -> str:
        """Return a whole text with asterisks for secrets."""


class SecretsMask:
    """The mask of some secrets."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {piece for form in _forms_of(values) for piece in _pieces_of(form)}
        self._forms = sorted(forms)
        self._longest = max(map(len, self._forms), default=0)
        self._found = BytesAhoCorasick(self._forms, matchkind=MatchKind.LeftmostLongest)

    def masked(self, text: bytes, *, is_final: bool) -> bytes:
        matches = [found[1:] for found in self._found.find_matches_as_indexes(text)]
        begun = self._begun_at(text, matches)
        hidden = bytearray(text)
        for start, end in matches:
            hidden[start:end] = b"*" * (end - start)
        if not is_final:
            return bytes(hidden[:begun])
        if len(text) - begun >= SHORTEST_MASKED:
            hidden[begun:] = b"*" * (len(text) - begun)
        return bytes(hidden)

    def text(self, text: str) -> str:
        return self.masked(text.encode(), is_final=True).decode("utf-8", "replace")

    def _begun_at(self, text: bytes, matches: list[tuple[int, int]]) -> int:
        """Return where a form begins that `text` has not the end of, or else where it ends.

        What lies inside another secret that was found begins none.
        """
        position = max(text.rfind(b"\n") + 1, len(text) - self._longest + 1, 0)
        later = [match for match in matches if match[1] > position]
        for start, end in [*later, (len(text), len(text))]:
            for candidate in range(position, min(start + 1, len(text))):
                if self._begins_a_form(text, candidate):
                    return candidate
            position = end
        return len(text)

    def _begins_a_form(self, text: bytes, position: int) -> bool:
        """Return whether the text from `position` on begins a form and does not end it."""
        rest = text[position:]
        place = bisect_right(self._forms, rest)
        return place < len(self._forms) and self._forms[place].startswith(rest)


class CoveringMask:
    """The mask of secrets that cannot be read any more: it leaves nothing but the line breaks."""

    def masked(self, text: bytes, *, is_final: bool) -> bytes:
        return re.sub(rb"[^\n]", b"*", text)

    def text(self, text: str) -> str:
        return self.masked(text.encode(), is_final=True).decode()


def _pieces_of(form: bytes) -> Iterator[bytes]:
    """Yield a form in pieces, each masked by itself, so that little of a log has to wait."""
    start = 0
    while len(form) - start >= PIECE + SHORTEST_MASKED:
        yield form[start : start + PIECE]
        start += PIECE
    yield form[start:]


def _forms_of(values: Iterable[str]) -> Iterator[bytes]:
    for value in values:
        yield from _base64_forms(value.encode())
        yield from _base64_forms(value.strip().encode())
        # A key inside JSON has its line breaks as \n.
        for text in {value, value.replace("\\n", "\n")}:
            for line in LINE_BREAKS.split(text):
                for part in {line.strip(), *WORD.findall(line)}:
                    yield from _text_forms(part)


def _text_forms(text: str) -> Iterator[bytes]:
    if len(text.encode()) < SHORTEST_MASKED:
        return
    in_json = json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
    for form in (text, quote(text, safe=""), quote(text), quote_plus(text), *in_json):
        yield form.encode()


def _base64_forms(value: bytes) -> Iterator[bytes]:
    """Yield how a value looks in base64, wherever in what was encoded it stood."""
    if len(value) < SHORTEST_MASKED:
        return
    for line in base64.encodebytes(value).splitlines():
        if len(line) >= SHORTEST_MASKED:
            yield line
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(value)
        for shift in range(3 if len(value) <= LONGEST_INSIDE_BASE64 else 0):
            # The characters at either end depend on the bytes beside the value.
            first = -(-shift * 8 // 6)
            yield encode(bytes(shift) + value)[first : (shift + len(value)) * 8 // 6]
