"""Turn what was read of a filter or an order into a query of experiments."""

from collections.abc import Iterable

from django.db.models import BigIntegerField, Case, CharField, F, Q, QuerySet, Value, When
from django.db.models.functions import Cast, NullIf
from django.db.models.lookups import IsNull

from runs.search.expressions import TagText
from runs.search.grammar import NULL_OPERATORS, Clause, Identifier, Ordering
from runs.search.run_query import COMPARED, OPPOSITES, Operand, time_condition
from workspace.models import Experiment

TIMES = {"creation_time": "created_at", "last_update_time": "changed_at"}
DEFAULT_ID = "0"


def matching(
    experiments: QuerySet[Experiment], clauses: Iterable[Clause], *, default_name: str
) -> QuerySet[Experiment]:
    """Narrow experiments to those for which all clauses hold.

    That with the name `default_name` has the id 0; the id of others is their key.
    """
    for clause in clauses:
        experiments = experiments.filter(_condition(clause, default_name))
    return experiments


def ordered(
    experiments: QuerySet[Experiment], orderings: Iterable[Ordering], *, default_name: str
) -> QuerySet[Experiment]:
    """Order experiments, and then the newest first."""
    keys = []
    for ordering in orderings:
        value = _value_of(ordering.identifier, default_name)
        if ordering.identifier.key == "experiment_id":
            value = Case(
                When(name=default_name, then=0), default=F("pk"), output_field=BigIntegerField()
            )
        keys.append(value.desc() if ordering.is_descending else value.asc())
    return experiments.order_by(*keys, "-created_at", "pk")


def _value_of(identifier: Identifier, default_name: str) -> Operand:
    key = identifier.key
    if identifier.entity == "tag":
        if key == "mlflow.note.content":
            return NullIf(F("description"), Value(""))
        return TagText("tags", key)
    if key == "experiment_id":
        as_text = Cast("pk", CharField())
        return Case(When(name=default_name, then=Value(DEFAULT_ID)), default=as_text)
    return F(TIMES.get(key, key))


def _condition(clause: Clause, default_name: str) -> Q:
    value = _value_of(clause.identifier, default_name)
    if clause.operator in NULL_OPERATORS:
        return Q(IsNull(value, clause.operator == "IS NULL"))
    operator = OPPOSITES.get(clause.operator, clause.operator)
    if isinstance(clause.value, float):
        condition = time_condition(TIMES[clause.identifier.key], operator, clause.value)
    else:
        condition = Q(COMPARED[operator](value, clause.value))
    if operator == clause.operator:
        return condition
    return ~condition & Q(IsNull(value, False))
