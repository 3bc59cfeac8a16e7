"""One row of a terminal: the letters that programs wrote over each other, with their colours."""

import re

COLUMNS = 4096
LONGEST_TEXT = 16 * 1024
LONGEST_STYLE = 64
RESET = "\x1b[0m"
# As static/js/terminal.js has them, and moves within the row.
TOKENS = re.compile(
    r"\x1b\[(?:([0-9;:]*)m|([0-9]{0,9})([KCDG]))"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)
CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
COLOURS = re.compile(r"\x1b\[([0-9;:]*)m")
ERASES_ROW = "\r\x1b[2K"


class Cells:
    """What stands in a row, up to some thousand columns; each letter has the style it came with.

    A style is the colour sequences since the last reset, as the program wrote them.
    """

    def __init__(self) -> None:
        self._letters: list[str] = []
        self._styles: list[str] = []

    @property
    def is_blank(self) -> bool:
        return not any(letter != " " for letter in self._letters)

    def write(self, text: str, column: int, style: str) -> tuple[int, str]:
        """Write from a column on; return the column and the style that are left behind."""
        before, erases, text = text.rpartition(ERASES_ROW)
        if erases:
            for found in COLOURS.finditer(before, max(before.rfind(RESET), 0)):
                style = _style_after(style, found[1], found[0])
            self.erase_from(0)
        if erases or text.startswith("\r"):
            text, column = text.lstrip("\r"), 0
        if not CONTROLS.search(text):
            return self._put(text, column, style), style
        at = 0
        for token in TOKENS.finditer(text):
            column = self._put(text[at : token.start()], column, style)
            at = token.end()
            colours, number, move = token.groups()
            if colours is not None:
                style = _style_after(style, colours, token[0])
            elif move == "K":
                self._erase(column, number)
            elif move:
                column = _column_after(column, int(number or 1) or 1, move)
            elif token[0] == "\r":
                column = 0
            elif token[0] == "\b":
                column = max(column - 1, 0)
        return self._put(text[at:], column, style), style

    def erase_from(self, column: int) -> None:
        del self._letters[column:]
        del self._styles[column:]

    def text(self) -> str:
        """Return the row as text with its colours, or without them where these are too many."""
        pieces: list[str] = []
        before = ""
        for letter, style in zip(self._letters, self._styles, strict=True):
            if style != before:
                pieces.append(f"{RESET if before else ''}{style}")
                before = style
            pieces.append(letter)
        text = "".join(pieces)
        text = f"{text}{RESET}" if before else text.rstrip(" ")
        return text if len(text) <= LONGEST_TEXT else "".join(self._letters).rstrip(" ")

    def _put(self, text: str, column: int, style: str) -> int:
        end = min(column + len(text), COLUMNS)
        if end <= column:
            return column
        text = text[: end - column]
        gap = column - len(self._letters)
        if gap > 0:
            self._letters += " " * gap
            self._styles += [""] * gap
        self._letters[column:end] = text
        self._styles[column:end] = [style] * len(text)
        return end

    def _erase(self, column: int, mode: str) -> None:
        if mode == "2":
            self.erase_from(0)
        elif mode == "1":
            cut = min(column + 1, len(self._letters))
            self._letters[:cut] = " " * cut
            self._styles[:cut] = [""] * cut
        else:
            self.erase_from(column)


def _column_after(column: int, count: int, move: str) -> int:
    if move == "C":
        column += count
    else:
        column = column - count if move == "D" else count - 1
    return min(max(column, 0), COLUMNS)


def _style_after(style: str, colours: str, sequence: str) -> str:
    if colours in {"", "0", "00"}:
        return ""
    if colours.startswith("0;"):
        style = ""
    style += sequence
    return style if len(style) <= LONGEST_STYLE else ""
