"""The types of a run configuration's fields that need more than a bound."""

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from workspace.platform.validation import Regex

MAX_VALUE_CHARACTERS = 100_000
EXPERIMENT_NAME = re.compile(r"(?=.*\S)[^\x00-\x1f\x7f]{1,100}")
RUN_NAME_LENGTH = 250
RUN_NAME = re.compile(rf"[^\x00-\x1f\x7f]{{0,{RUN_NAME_LENGTH}}}")
RUN_NAME_HINT = f"at most {RUN_NAME_LENGTH} characters"
EXPERIMENT_NAME_HINT = "1 to 100 characters, not all of them blanks"
IMAGE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:@]{0,299}")
SHM_SIZE = re.compile(r"([1-9][0-9]{0,9})([kKmMgG]?)[bB]?")
SHM_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
FILE_NAME = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,99}")
FILE_NAME_HINT = "a file name of letters, digits, hyphens, dots and underscores"
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
RESERVED_VARIABLES = re.compile(r"TRAINYARD_.*|TF_CONFIG", re.ASCII)
VARIABLE_NAME_SCHEMA = "^(?!TRAINYARD_|TF_CONFIG$)[A-Za-z_][A-Za-z0-9_]*$"
SECRET_WORD = re.compile(
    r"(?:secret|passw(?:or)?d|passphrase|credentials?|(?:^|_)(?:pwd|pass)"
    r"|(?:api|access|account|auth|encryption|private|secret|signing|ssh|storage)_?key)(?:_|$)",
    re.IGNORECASE,
)
# Programs also call columns, metrics and pieces of text keys and tokens.
KEY_OR_TOKEN = re.compile(r"(?:(?:^|_)key|token)(?:_|$)", re.IGNORECASE)
TOKEN = re.compile(r"token$", re.IGNORECASE)
SPECIAL_TOKEN = re.compile(
    r"(?:^|_)(?:bos|cls|end|eos|mask|oov|pad|sep|special|start|stop|unk)_?token$", re.IGNORECASE
)
SPECIAL_TEXT = re.compile(r"[<\[|].*[>\]|]")
LONG_WORD = re.compile(r"[A-Za-z0-9]{16,}")
PLAIN_WORD = re.compile(r"[a-z]+")
URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
HIDDEN = "***"
SCALARS = ["string", "number", "boolean", "null"]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("A NUL character cannot be passed to a program.")
    return text


def _script_value(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    if not all(item is None or isinstance(item, str | int | float) for item in items):
        raise ValueError("Use text, a number, true, false, null or a list of those.")
    if any(isinstance(item, float) and not math.isfinite(item) for item in items):
        raise ValueError("Use a finite number, or text such as 'nan' or 'inf'.")
    _without_nul("".join(map(str, items)))
    if sum(len(str(item)) for item in items) > MAX_VALUE_CHARACTERS:
        raise ValueError(
            f"It is longer than {MAX_VALUE_CHARACTERS:,} characters: put it into a file."
        )
    return value


def _variable_name(name: str) -> str:
    if not VARIABLE_NAME.fullmatch(name):
        raise ValueError("A name has letters, digits and _, and starts with no digit.")
    if RESERVED_VARIABLES.fullmatch(name):
        raise ValueError(f"{name} is set by Trainyard and cannot be given.")
    return name


def _variable_value(value: object) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError("Use text or a number.")
    text = str(value)
    if "\0" in text or len(text) > MAX_VALUE_CHARACTERS:
        raise ValueError(f"Use at most {MAX_VALUE_CHARACTERS:,} characters, none of them NUL.")
    return text


def looks_secret(name: str, value: object) -> bool:
    """Return whether a variable or parameter seems to hold a secret, by its name or its value."""
    if value in (None, "") or isinstance(value, bool | int | float):
        return False
    text = str(value)
    if URL_WITH_PASSWORD.search(text):
        return True
    name = name.replace("-", "_")
    if SECRET_WORD.search(name):
        return True
    if TOKEN.search(name) and not SPECIAL_TOKEN.search(name):
        return not SPECIAL_TEXT.fullmatch(text)
    return KEY_OR_TOKEN.search(name) is not None and _has_random_word(text)


def _has_random_word(text: str) -> bool:
    return any(not (word.isalpha() or word.isdigit()) for word in LONG_WORD.findall(text))


def is_plain_word(value: object) -> bool:
    """Return whether a value is a single word, which a log may hold for reasons of its own."""
    return PLAIN_WORD.fullmatch(str(value)) is not None


def refuse_datasets(value: object) -> object:
    if value:
        raise ValueError(
            "Leave inputs out: datasets are not built yet; put small data into the source"
            " directory."
        )
    return None


ExperimentName = Annotated[
    str, Regex(EXPERIMENT_NAME, EXPERIMENT_NAME_HINT), AfterValidator(str.strip)
]
RunName = Annotated[str, Regex(RUN_NAME, RUN_NAME_HINT, optional=True), AfterValidator(str.strip)]
ScriptParams = dict[
    Annotated[str, AfterValidator(_without_nul)],
    Annotated[
        Any,
        AfterValidator(_script_value),
        WithJsonSchema({"type": [*SCALARS, "array"], "items": {"type": SCALARS}}),
    ],
]
VariableName = Annotated[str, AfterValidator(_variable_name)]
VariableValue = Annotated[
    str, BeforeValidator(_variable_value), WithJsonSchema({"type": ["string", "number"]})
]
