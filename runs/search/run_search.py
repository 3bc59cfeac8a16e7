"""A search for runs as somebody asked for it, and its pages."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TypeVar

from django.db.models import QuerySet

from runs.models import Run
from runs.search.entities import RUNS, SearchGrammar
from runs.search.grammar import (
    Clause,
    Identifier,
    InvalidSearch,
    Ordering,
    parse_columns,
    parse_filter,
    parse_order,
    parse_sort,
)
from runs.search.run_query import matching, ordered, value_of
from runs.selectors import PAGE, page_after, read_slice
from workspace.platform.errors import CollectedErrors, FieldError, Invalid

MAX_ORDERINGS = 10
MAX_COLUMNS = 12
SORT_KIND = {"metric": "metric", "parameter": "param", "tag": "tag", "attribute": "attribute"}
MAX_OFFSET = 10**9
MAX_CURSOR = 200
Read = TypeVar("Read")


@dataclass(frozen=True)
class RunSearch:
    """What runs have to match, and their order: without one, the newest come first."""

    clauses: tuple[Clause, ...] = ()
    orderings: tuple[Ordering, ...] = ()

    def page(self, runs: QuerySet[Run], cursor: str) -> tuple[list[Run], str]:
        """Return a page of those of `runs` that match, and the cursor of the next one.

        Runs that are submitted after the first page are on no later one, so that none comes twice.
        """
        found = matching(runs, self.clauses)
        if not self.orderings:
            return page_after(found, cursor)
        query = _digest((*self.orderings, str(found.query)))
        start, newest = _read_cursor(cursor, query) if cursor else (0, _newest(runs))
        in_order = ordered(found.filter(number__lte=newest), self.orderings)
        rows = read_slice(in_order, start, start + PAGE + 1)
        has_next = len(rows) > PAGE
        return rows[:PAGE], _cursor(start + PAGE, newest, query) if has_next else ""


@dataclass(frozen=True)
class Column:
    """A value of runs that a list shows, and can be sorted by."""

    identifier: Identifier

    @property
    def name(self) -> str:
        return self.identifier.key

    @property
    def sort(self) -> str:
        """Return the sort by this column, less its direction."""
        return f"{SORT_KIND[self.identifier.entity]}:{self.identifier.key}"


def read_search(filter_text: str, order_by: Iterable[str], sort: str) -> RunSearch:
    """Read a search. Raises Invalid with all that is wrong, each naming its field."""
    errors = CollectedErrors()
    no_clauses: list[Clause] = []
    clauses = errors.of(partial(_read, "filter", parse_filter, filter_text), no_clauses)
    orders = list(filter(None, order_by))
    orderings = [
        errors.of(partial(_read, "order_by", parse_order, text), None)
        for text in orders[:MAX_ORDERINGS]
    ]
    if len(orders) > MAX_ORDERINGS:
        errors.errors.append(FieldError("order_by", f"Use at most {MAX_ORDERINGS}."))
    if sort:
        orderings.append(errors.of(partial(_read, "sort", parse_sort, sort), None))
    if sort and orders:
        errors.errors.append(FieldError("sort", "Leave out either sort or order_by."))
    errors.raise_all()
    return RunSearch(tuple(clauses), tuple(filter(None, orderings)))


def read_columns(text: str) -> list[Column]:
    """Read which values of runs to show, with commas between them. Raises Invalid."""
    found = _read("columns", parse_columns, text)
    if any(identifier.entity not in SORT_KIND for identifier in found):
        raise Invalid.of(FieldError("columns", "Use params, metrics, tags or attributes."))
    if len(found) > MAX_COLUMNS:
        raise Invalid.of(FieldError("columns", f"Use at most {MAX_COLUMNS}."))
    return [Column(identifier) for identifier in dict.fromkeys(found)]


def column_values(runs: Iterable[Run], columns: Sequence[Column]) -> dict[int, list[object]]:
    """Return what each run has in the columns, by its key; None where it has nothing."""
    rows = Run.objects.filter(pk__in=[run.pk for run in runs])
    values = {f"column_{place}": value_of(each.identifier) for place, each in enumerate(columns)}
    return {pk: found for pk, *found in rows.annotate(**values).values_list("pk", *values)}


def _read(field: str, parse: Callable[[str, SearchGrammar], Read], text: str) -> Read:
    try:
        return parse(text, RUNS)
    except InvalidSearch as error:
        raise Invalid.of(FieldError(field, str(error))) from error


def _digest(query: tuple[object, ...]) -> str:
    return sha256(repr(query).encode()).hexdigest()[:16]


def _newest(runs: QuerySet[Run]) -> int:
    return runs.order_by("-number").values_list("number", flat=True).first() or 0


def _cursor(start: int, newest: int, query: str) -> str:
    return urlsafe_b64encode(json.dumps([start, newest, query]).encode()).decode()


def _read_cursor(cursor: str, query: str) -> tuple[int, int]:
    try:
        start, newest, of_query = json.loads(urlsafe_b64decode(cursor[:MAX_CURSOR]))
        is_ours = of_query == query and type(start) is type(newest) is int
    except (ValueError, TypeError, RecursionError):
        is_ours = False
    if not is_ours or not (0 <= start <= MAX_OFFSET and 0 <= newest <= MAX_OFFSET):
        raise Invalid.of(
            FieldError("cursor", "Use the cursor of the previous page, with the same search.")
        )
    return start, newest
