"""Names of files that a program may look for in another Unicode form."""

import unicodedata
from collections.abc import Iterable, Iterator

from runs.preflight.findings import PreflightFinding


def about_decomposed_names(paths: Iterable[str]) -> Iterator[PreflightFinding]:
    """Warn of names whose letters and accents are apart, as macOS writes them into archives."""
    found = sorted(path for path in paths if not unicodedata.is_normalized("NFC", path))
    if not found:
        return
    first = found[0]
    others = f" and {len(found) - 1} more" if len(found) > 1 else ""
    yield PreflightFinding(
        "warn",
        "decomposed-name",
        "entry_script",
        f"{first}{others}: the name is in the Unicode form NFD, with accents apart from their "
        "letters, as macOS writes it. A script that opens it by the name as typed (NFC), which "
        "looks the same, does not find it.",
        "Rename the files before the upload: convmv -f utf8 -t utf8 --nfc --notest -r . "
        'Or open them by unicodedata.normalize("NFD", path) in the script.',
        first,
    )
