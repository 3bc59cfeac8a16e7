"""Turn what was read of a filter or an order into a query of runs."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from typing import Any, cast

from django.db.models import (
    Case,
    CharField,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import BaseExpression
from django.db.models.functions import Cast, Coalesce, NullIf
from django.db.models.lookups import (
    Exact,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNull,
    LessThan,
    LessThanOrEqual,
    Lookup,
)

from runs.models import PARAMETER_START, DatasetInput, MetricSeries, Run, RunParameter
from runs.search.expressions import CaseInsensitiveLike, Like, TagText
from runs.search.grammar import NULL_OPERATORS, Clause, Identifier, Ordering
from runs.states import RunStatus

Operand = BaseExpression | F
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MILLISECONDS = (datetime(9999, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
MIN_MILLISECONDS = (datetime(2, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
MLFLOW_STATUS = {
    RunStatus.QUEUED: "SCHEDULED",
    RunStatus.PREPARING: "SCHEDULED",
    RunStatus.STARTING: "SCHEDULED",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.FINALIZING: "RUNNING",
    RunStatus.COMPLETED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELED: "KILLED",
}
TIMES = {"start_time": "created_at", "end_time": "ended_at"}
# MLflow keeps these as tags too.
TAG_COLUMNS = {
    "mlflow.runName": "name",
    "mlflow.note.content": "description",
}
USER_TAG = "mlflow.user"
DATASET_CONTEXT = "mlflow.data.context"
COMPARED: dict[str, type["Lookup[Any]"]] = {
    "=": Exact,
    "LIKE": Like,
    "ILIKE": CaseInsensitiveLike,
    "IN": In,
    ">": GreaterThan,
    ">=": GreaterThanOrEqual,
    "<": LessThan,
    "<=": LessThanOrEqual,
}
OPPOSITES = {"!=": "=", "NOT IN": "IN"}


def matching(runs: QuerySet[Run], clauses: Iterable[Clause]) -> QuerySet[Run]:
    """Narrow runs to those for which all clauses hold; for a missing value only IS NULL does."""
    for clause in clauses:
        runs = runs.filter(_condition(clause))
    return runs


def ordered(runs: QuerySet[Run], orderings: Iterable[Ordering]) -> QuerySet[Run]:
    """Order runs, those without a value last in either direction, and then the newest first.

    Parameters that are numbers come first, in their order.
    """
    keys = [
        expression.desc(nulls_last=True)
        if ordering.is_descending
        else expression.asc(nulls_last=True)
        for ordering in orderings
        for expression in _sort_keys(ordering.identifier)
    ]
    return runs.order_by(*keys, "-created_at", "-number")


def value_of(identifier: Identifier) -> Operand:
    """Return what a run has under an identifier: null where it has nothing."""
    key = identifier.key
    match identifier.entity:
        case "metric":
            series = MetricSeries.objects.filter(
                run=OuterRef("pk"), name=key, last_step__isnull=False
            )
            return Subquery(series.order_by("process").values("last_value")[:1])
        case "parameter":
            return _parameter(key, "value")
        case "tag" if key in TAG_COLUMNS:
            return NullIf(F(TAG_COLUMNS[key]), Value(""))
        case "tag" if key == USER_TAG:
            return Coalesce(
                TagText("tags", key), F("created_by__username"), output_field=TextField()
            )
        case "tag":
            return TagText("tags", key)
        case "attribute":
            return _attribute(key)
    return Value(None, TextField())


def _parameter(name: str, column: str) -> Subquery:
    return Subquery(RunParameter.objects.filter(run=OuterRef("pk"), name=name).values(column)[:1])


def _attribute(key: str) -> Operand:
    if key in TIMES:
        return F(TIMES[key])
    match key:
        case "run_id":
            return Cast("number", CharField())
        case "run_name":
            return NullIf(F("name"), Value(""))
        case "user_id":
            return F("created_by__username")
        case "status":
            return F("status")
    return Value(None, TextField())


def _sort_keys(identifier: Identifier) -> list[Operand]:
    if identifier.entity == "parameter":
        return [_parameter(identifier.key, "number"), value_of(identifier)]
    if identifier == Identifier("attribute", "run_id"):
        return [F("number")]
    return [] if isinstance(found := value_of(identifier), Value) else [found]


def _condition(clause: Clause) -> Q:
    identifier, value = clause.identifier, clause.value
    if clause.operator in NULL_OPERATORS:
        return Q(IsNull(value_of(identifier), clause.operator == "IS NULL"))
    operator = OPPOSITES.get(clause.operator, clause.operator)
    if identifier.entity == "attribute" and identifier.key in TIMES:
        condition = time_condition(TIMES[identifier.key], operator, cast(float, value))
    elif identifier == Identifier("attribute", "status"):
        compare = COMPARED[operator]
        condition = Q(compare(F("status"), value)) | Q(compare(_mlflow_status(), value))
    elif identifier.entity == "dataset":
        return _has_dataset(identifier.key, clause)
    elif identifier.entity == "parameter" and operator == "=":
        condition = _has_parameter(identifier.key, str(value))
    else:
        compare = COMPARED[operator]
        condition = Q(compare(value_of(identifier), value))
    if operator == clause.operator:
        return condition
    return ~condition & Q(IsNull(value_of(identifier), False))


def _has_parameter(name: str, value: str) -> Q:
    with_value = RunParameter.objects.filter(
        name=name, value_start=value[:PARAMETER_START], value=value
    )
    return Q(pk__in=with_value.values("run"))


def _has_dataset(key: str, clause: Clause) -> Q:
    """Return whether any dataset of a run is as a clause has it."""
    held: Operand = TagText("tags", DATASET_CONTEXT) if key == "context" else F(key)
    operator = OPPOSITES.get(clause.operator, clause.operator)
    condition = Q(COMPARED[operator](held, clause.value))
    if operator != clause.operator:
        condition = ~condition & Q(IsNull(held, False))
    return Q(pk__in=DatasetInput.objects.filter(condition).values("run"))


def _mlflow_status() -> Case:
    return Case(
        *(When(status=status, then=Value(name)) for status, name in MLFLOW_STATUS.items()),
        output_field=CharField(),
    )


def time_condition(column: str, operator: str, value: float) -> Q:
    """Compare a time, which holds microseconds, with milliseconds since 1970."""
    value = min(max(value, MIN_MILLISECONDS), MAX_MILLISECONDS)
    from_here, after = _moment(ceil(value)), _moment(floor(value) + 1)
    match operator:
        case ">":
            return Q(**{f"{column}__gte": after})
        case ">=":
            return Q(**{f"{column}__gte": from_here})
        case "<":
            return Q(**{f"{column}__lt": from_here})
        case "<=":
            return Q(**{f"{column}__lt": after})
    return Q(**{f"{column}__gte": from_here, f"{column}__lt": after})


def _moment(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)
