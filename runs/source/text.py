"""Text files as editors and shells on any system write them."""

import codecs

# The longer ones first: the mark of UTF-32 begins like that of UTF-16.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What stands for bytes that are no UTF-8, here and in a browser.
ODD_BYTES = "\ufffd"
SAVE_AS_UTF8 = "Save it as UTF-8."


class UnreadableText(ValueError):
    """A file in an encoding that is neither UTF-8 nor told by a byte order mark."""


def decoded(content: bytes) -> str:
    """Return a file's text by its byte order mark, else as UTF-8, with \ufffd for odd bytes.

    Raises UnreadableText, with what is wrong and what to do.
    """
    for mark, encoding in MARKS:
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(encoding)
            except UnicodeDecodeError:
                name = encoding[:6].upper().rstrip("-")
                raise UnreadableText(f"It is damaged {name} text. {SAVE_AS_UTF8}") from None
    return without_nul(content.decode("utf-8", "replace"))


def without_nul(text: str) -> str:
    """Return a text as it is, or raise UnreadableText where it has characters NUL."""
    if "\0" in text:
        raise UnreadableText(f"It is UTF-16 without a byte order mark, or no text. {SAVE_AS_UTF8}")
    return text
