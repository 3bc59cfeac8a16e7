"""One record, one line: what a log record may look like in the terminal."""

import logging
import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escaped(text: str) -> str:
    """Show control characters as escapes, so that no request can forge a line or paint."""
    return CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class OneLine(logging.Formatter):
    """Levels above INFO are named; only tracebacks take more than one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        message = escaped(record.message)
        if record.levelno <= logging.INFO:
            return message
        return f"{record.levelname} {record.name}: {message}"

    def formatException(self, exc_info: object) -> str:
        lines = super().formatException(exc_info).splitlines()  # type: ignore[arg-type]
        return "\n".join(escaped(line) for line in lines)
