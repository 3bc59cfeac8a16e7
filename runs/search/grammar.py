"""Read filters and orders as MLflow writes them, with the errors that its clients know."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from runs.search.entities import Attribute, Entity, SearchGrammar

# SQLite takes patterns of 50,000 characters, and one of ours may become three of its own.
MAX_CHARACTERS = 16_000
MAX_CLAUSES = 50
ENTITY_NAMES = ["metric", "parameter", "tag", "attribute", "dataset"]
SORT_KINDS = ("metric", "param", "tag", "attribute")
NULL_OPERATORS = ("IS NULL", "IS NOT NULL")
LIST_OPERATORS = ("IN", "NOT IN")

# The kinds of tokens that may name something.
NAMING = ("word", "text", "backticks")
# Each repetition is possessive, so that no text is read twice.
TOKENS = re.compile(
    r"""(?P<blank>\s++)
    |(?P<number>-?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?(?![\w.]))
    |(?P<word>\w++(?:-\w++)*+(?:\.(?:"[^"]*+"|`[^`]*+`|'[^']*+'|[\w./-]++))?)
    |(?P<text>'(?:''|[^'])*+'|"(?:""|[^"])*+")
    |(?P<backticks>`[^`]*+`)
    |(?P<unclosed>['"`].*+)
    |(?P<operator>[<>=!]++)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class InvalidSearch(Exception):
    """A filter or an order cannot be read; the message is for whoever wrote it."""


@dataclass(frozen=True)
class Identifier:
    """What is compared or ordered by: `entity` is an Entity's name."""

    entity: str
    key: str


Value = str | float | tuple[str, ...] | None


@dataclass(frozen=True)
class Clause:
    """One comparison of a filter; the value is None for IS NULL and IS NOT NULL."""

    identifier: Identifier
    operator: str
    value: Value = None


@dataclass(frozen=True)
class Ordering:
    """One part of an order."""

    identifier: Identifier
    is_descending: bool = False


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int = 0

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words


def parse_filter(text: str, grammar: SearchGrammar) -> list[Clause]:
    """Return the comparisons of a filter, all of which have to hold. Raises InvalidSearch."""
    if not text:
        return []
    _check_length(text, "Filters")
    if not text.strip():
        raise InvalidSearch(f"Invalid filter '{text}'. Could not be parsed.")
    tokens = _tokens(text)
    if any(token.text == ";" for token in tokens[:-1]):
        raise InvalidSearch(
            f"Search filter contained multiple expression {text!r}. Provide AND-ed expression list."
        )
    clauses = _Parts(text, tokens).clauses(grammar)
    if len(clauses) > MAX_CLAUSES:
        raise InvalidSearch(f"Filters have at most {MAX_CLAUSES} comparisons.")
    return clauses


def parse_order(text: str, grammar: SearchGrammar) -> Ordering:
    """Return what to order by. Raises InvalidSearch."""
    _check_length(text, "order_by clauses")
    tokens = _tokens(text)
    if not 1 <= len(tokens) <= 2 or tokens[0].kind not in NAMING:
        raise InvalidSearch(f"Invalid order_by clause '{text}'. Could not be parsed.")
    if len(tokens) == 2 and not tokens[1].is_word("ASC", "DESC"):
        raise InvalidSearch(f"Invalid ordering key in order_by clause '{text}'.")
    identifier = _ordered_by(*_entity_and_key(tokens[0].text, grammar), grammar)
    return Ordering(identifier, len(tokens) == 2 and tokens[1].is_word("DESC"))


def parse_sort(text: str, grammar: SearchGrammar) -> Ordering:
    """Return what to order by, of KIND:NAME, KIND:NAME:asc or KIND:NAME:desc."""
    _check_length(text, "Sorts")
    kind, _, rest = text.partition(":")
    key, _, direction = rest.rpartition(":")
    if not key or direction not in ("asc", "desc"):
        key, direction = rest, "asc"
    if kind not in SORT_KINDS or not key:
        raise InvalidSearch(
            f"Use KIND:NAME:asc or KIND:NAME:desc, with a KIND of {', '.join(SORT_KINDS)}."
        )
    entity = _entity(kind, grammar)
    identifier = _ordered_by(entity, entity.aliases.get(key, key), grammar)
    return Ordering(identifier, direction == "desc")


def parse_columns(text: str, grammar: SearchGrammar) -> list[Identifier]:
    """Return the identifiers of a list with commas. Raises InvalidSearch."""
    _check_length(text, "Columns")
    tokens = _tokens(text)
    names, commas = tokens[::2], tokens[1::2]
    if any(token.kind not in NAMING for token in names) or any(
        token.text != "," for token in commas
    ):
        raise InvalidSearch("Use names with commas between them: params.lr, metrics.loss.")
    return [_identifier(token.text, grammar)[0] for token in names]


def looks_like_filter(text: str, grammar: SearchGrammar) -> bool:
    """Return whether a text in a search box is meant as a filter, though it may be a wrong one."""
    if len(text) > MAX_CHARACTERS or len(tokens := _tokens(text)[:2]) < 2:
        return False
    named, operator = tokens
    prefix, dot, _ = named.text.partition(".")
    attributes = grammar.attributes
    known = {*(attributes.attributes or {}), *attributes.aliases}
    is_known = grammar.entity(prefix) is not None if dot else _unquoted(named.text) in known
    if operator.kind == "operator":
        return named.kind in NAMING and (bool(dot) or is_known)
    return is_known and operator.is_word("LIKE", "ILIKE", "IN", "IS", "NOT")


def _check_length(text: str, what: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise InvalidSearch(f"{what} have at most {MAX_CHARACTERS:,} characters.")
    if "\0" in text:
        raise InvalidSearch(f"{what} have no NUL characters.")


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(found.lastgroup or "other", found[0], found.start())
        for found in TOKENS.finditer(text)
        if found.lastgroup != "blank"
    ]


class _Parts:
    """The tokens of a filter, read from left to right."""

    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self._text, self._tokens = text, tokens
        self._place = 0

    def clauses(self, grammar: SearchGrammar) -> list[Clause]:
        compared: list[tuple[_Token, str, str]] = []
        invalid: list[str] = []
        is_joined = True
        while self._place < len(self._tokens):
            token = self._tokens[self._place]
            if token.is_word("AND"):
                self._place += 1
                is_joined = True
                continue
            start = self._place
            found = self._comparison()
            if found is None:
                invalid.append(self._group())
            elif is_joined:
                compared.append(found)
            else:
                invalid.append(self._read_since(start))
            is_joined = found is None
        if invalid:
            shown = ", ".join(f"'{part}'" for part in invalid)
            if grammar.is_plural:
                raise InvalidSearch(
                    f"Invalid comparison: {shown}. Expected a comparison with 3 tokens."
                )
            raise InvalidSearch(f"Invalid clause(s) in filter string: {shown}")
        return [_clause(*parts, grammar) for parts in compared]

    def _comparison(self) -> tuple[_Token, str, str] | None:
        """Read an identifier, an operator and a value; where there is none, read nothing."""
        start = self._place
        identifier = self._next()
        if identifier.kind in NAMING and not identifier.is_word("OR", "NOT"):
            operator = self._operator()
            if operator in NULL_OPERATORS:
                return identifier, operator, ""
            if operator and self._place < len(self._tokens):
                value = self._group()
                if value not in (")", ",", ";"):
                    return identifier, operator, value
        self._place = start
        return None

    def _operator(self) -> str:
        first = self._next()
        if first.kind == "operator":
            return first.text
        if first.is_word("LIKE", "ILIKE", "IN"):
            return first.text.upper()
        second = self._next()
        if first.is_word("NOT") and second.is_word("IN"):
            return "NOT IN"
        if not first.is_word("IS"):
            return ""
        if second.is_word("NULL"):
            return "IS NULL"
        return "IS NOT NULL" if second.is_word("NOT") and self._next().is_word("NULL") else ""

    def _group(self) -> str:
        """Read one token, or all in a pair of parentheses."""
        start = self._place
        if self._next().text == "(":
            while self._place < len(self._tokens) and self._next().text != ")":
                pass
        return self._read_since(start)

    def _next(self) -> _Token:
        if self._place >= len(self._tokens):
            return _Token("end", "")
        self._place += 1
        return self._tokens[self._place - 1]

    def _read_since(self, start: int) -> str:
        last = self._tokens[self._place - 1]
        return self._text[self._tokens[start].start : last.start + len(last.text)]


def _clause(token: _Token, operator: str, value: str, grammar: SearchGrammar) -> Clause:
    identifier, attribute = _identifier(token.text, grammar)
    if operator in NULL_OPERATORS:
        if operator not in attribute.operators:
            if grammar.is_plural:
                raise InvalidSearch(
                    f"Invalid comparison: {token.text} {operator}."
                    " Expected a comparison with 3 tokens."
                )
            raise InvalidSearch(
                "IS NULL / IS NOT NULL is only supported for tags and params, not for"
                f" '{identifier.entity}' '{identifier.key}'"
            )
        return Clause(identifier, operator)
    parsed = (
        _number(value, identifier)
        if attribute.is_number
        else _text_or_list(value, operator, identifier, attribute, grammar)
    )
    if operator not in attribute.operators:
        shown = ", ".join(f"'{each}'" for each in attribute.operators)
        raise InvalidSearch(f"Invalid comparator '{operator}' not one of '{{{shown}}}'")
    return Clause(identifier, operator, parsed)


def _identifier(text: str, grammar: SearchGrammar) -> tuple[Identifier, Attribute]:
    entity, key = _entity_and_key(text, grammar)
    if entity.attributes is None:
        return Identifier(entity.name, key), entity.any_key
    _check_key(entity, key, entity.attributes)
    return Identifier(entity.name, key), entity.attributes[key]


def _ordered_by(entity: Entity, key: str, grammar: SearchGrammar) -> Identifier:
    if grammar.order_keys is not None and entity.name != "attribute":
        raise InvalidSearch(f"Invalid order_by entity '{entity.name}'. Order by an attribute.")
    valid = grammar.order_keys if entity.name == "attribute" else None
    if valid is not None or entity.attributes is not None:
        _check_key(entity, key, valid or entity.attributes or {})
    return Identifier(entity.name, key)


def _entity_and_key(text: str, grammar: SearchGrammar) -> tuple[Entity, str]:
    prefix, dot, rest = text.partition(".")
    if text[0] in "'\"`" or not dot:
        entity, key = grammar.attributes, _unquoted(text)
    else:
        entity, key = _entity(prefix, grammar), _unquoted(rest)
    return entity, entity.aliases.get(key, key)


def _check_key(entity: Entity, key: str, valid: Collection[str]) -> None:
    if key not in valid:
        shown = ", ".join(f"'{each}'" for each in valid)
        raise InvalidSearch(
            f"Invalid {entity.name} key '{key}' specified. Valid keys are '{{{shown}}}'"
        )


def _entity(name: str, grammar: SearchGrammar) -> Entity:
    if entity := grammar.entity(name):
        return entity
    if grammar.is_plural:
        names = [each for entity in grammar.entities for each in sorted(entity.names)]
        raise InvalidSearch(f"Invalid entity type: '{name}'. Expected one of {sorted(names)}.")
    names = [each for each in ENTITY_NAMES if each in {entity.name for entity in grammar.entities}]
    raise InvalidSearch(f"Invalid entity type '{name}'. Valid values are {names}")


def _number(value: str, identifier: Identifier) -> float:
    if _kind(value) == "number":
        return float(value)
    if identifier.entity == "metric":
        raise InvalidSearch(f"Expected numeric value type for metric. Found {value}")
    raise InvalidSearch(
        f"Expected numeric value type for numeric attribute: {identifier.key}. Found {value}"
    )


def _text_or_list(
    value: str,
    operator: str,
    identifier: Identifier,
    attribute: Attribute,
    grammar: SearchGrammar,
) -> str | tuple[str, ...]:
    is_list = value.startswith("(")
    if is_list and not attribute.takes_lists and identifier.entity == "attribute":
        attributes = grammar.attributes.attributes or {}
        listed = [name for name, each in attributes.items() if each.takes_lists]
        raise InvalidSearch(
            f"Only {listed} attributes support comparison with a list of quoted string values."
        )
    if attribute.takes_lists and is_list and operator in LIST_OPERATORS:
        return _list(value)
    if operator in LIST_OPERATORS and attribute.takes_lists:
        raise InvalidSearch(
            f"Expected a list of quoted string values for {identifier.key}, such as ('a', 'b')."
            f" Got value {value}"
        )
    if _kind(value) == "text":
        return value[1:-1]
    if identifier.entity in ("parameter", "tag"):
        raise InvalidSearch(
            f"Expected a quoted string value for {identifier.entity} (e.g. 'my-value')."
            f" Got value {value}"
        )
    of = "attributes" if identifier.entity == "attribute" else "dataset attributes"
    raise InvalidSearch(f"Expected a quoted string value for {of}. Got value {value}")


def _list(value: str) -> tuple[str, ...]:
    """Read a list of texts in parentheses, with commas between them."""
    tokens = _tokens(value[1:-1])
    texts, commas = tokens[::2], tokens[1::2]
    if (
        not value.endswith(")")
        or len(tokens) % 2 == 0
        or any(token.kind != "text" for token in texts)
        or any(token.text != "," for token in commas)
    ):
        raise InvalidSearch(
            f"Expected a list of quoted string values, such as ('a', 'b'). Got value {value}"
        )
    return tuple(token.text[1:-1] for token in texts)


def _kind(value: str) -> str:
    found = TOKENS.fullmatch(value)
    return (found and found.lastgroup) or "other"


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] in "'\"`" and text[-1] == text[0] else text
