"""Runs and experiments found by MLflow's filters, in pages."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from django.db.models import QuerySet
from pydantic import Field

from models.mlflow.experiments import as_json
from models.mlflow.ids import DEFAULT_NAME, default_experiment, experiment_with_id
from models.mlflow.paging import page_token, start_of
from models.mlflow.requests import Integer, MlflowRequest, Text
from models.mlflow.run_output import RUNS_AT_ONCE, runs_json
from models.mlflow.transport import Caller
from runs.models import Run
from runs.search import experiment_query, run_query
from runs.search.entities import EXPERIMENTS, RUNS, SearchGrammar
from runs.search.grammar import InvalidSearch, parse_filter, parse_order
from runs.selectors import runs_of
from workspace.models import Experiment
from workspace.platform.errors import Invalid, NotFound

MAX_RESULTS = 50_000
PAGE = 1000
MAX_ORDERINGS = 10
MAX_EXPERIMENTS = 1000
View = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]
Read = TypeVar("Read")


class _Search(MlflowRequest):
    filter: Text = ""
    order_by: list[Text] = Field(default=[], max_length=MAX_ORDERINGS)
    max_results: Integer = Field(default=PAGE, ge=1, le=MAX_RESULTS)
    page_token: Text = ""


class RunsSearch(_Search):
    experiment_ids: list[Text] = Field(default=[], max_length=MAX_EXPERIMENTS)
    run_view_type: View = "ACTIVE_ONLY"


class ExperimentsSearch(_Search):
    view_type: View = "ACTIVE_ONLY"


def search_runs(caller: Caller, given: RunsSearch) -> dict[str, Any]:
    clauses, orderings = _parsed(given, RUNS)
    keys = [key for each in given.experiment_ids if (key := _experiment_key(caller, each))]
    runs = runs_of(caller.team).filter(experiment__in=keys)
    found = run_query.ordered(
        run_query.matching(_viewed(runs, given.run_view_type), clauses), orderings
    )
    page, answer = _page(found, given)
    rows: list[Run] = []
    for start in range(0, len(page), RUNS_AT_ONCE):
        some = page[start : start + RUNS_AT_ONCE]
        by_key = {run.pk: run for run in runs.filter(pk__in=some).order_by()}
        rows += [by_key[key] for key in some if key in by_key]
    return {"runs": list(runs_json(rows)), **answer}


def search_experiments(caller: Caller, given: ExperimentsSearch) -> dict[str, Any]:
    clauses, orderings = _parsed(given, EXPERIMENTS)
    default_experiment(caller.team)
    experiments = Experiment.objects.filter(team=caller.team)
    found = experiment_query.ordered(
        experiment_query.matching(
            _viewed(experiments, given.view_type), clauses, default_name=DEFAULT_NAME
        ),
        orderings,
        default_name=DEFAULT_NAME,
    )
    page, answer = _page(found, given)
    by_key = experiments.in_bulk(page)
    return {"experiments": [as_json(by_key[key]) for key in page if key in by_key], **answer}


def _parsed(given: _Search, grammar: SearchGrammar) -> tuple[list[Any], list[Any]]:
    """Read filter and order. Raises Invalid with all that is wrong in the client's own words."""
    errors: list[str] = []

    def read(parse: Callable[[str, SearchGrammar], Read], text: str) -> Iterable[Read]:
        try:
            return [parse(text, grammar)]
        except InvalidSearch as error:
            errors.append(str(error))
            return []

    clauses = [clause for found in read(parse_filter, given.filter) for clause in found]
    orderings = [found for text in given.order_by for found in read(parse_order, text)]
    if errors:
        raise Invalid(" ".join(errors))
    return clauses, orderings


def _experiment_key(caller: Caller, given: str) -> int | None:
    try:
        return experiment_with_id(caller.team, given).pk
    except NotFound:
        return None


def _viewed(rows: QuerySet[Any], view: View) -> QuerySet[Any]:
    return rows if view == "ALL" else rows.filter(archived_at__isnull=view == "ACTIVE_ONLY")


def _page(found: QuerySet[Any], given: _Search) -> tuple[list[int], dict[str, str]]:
    """Return the keys of a page, and the token of the next one where there is one."""
    query = given.model_dump(exclude={"page_token", "max_results"})
    start = start_of(given.page_token, query)
    stop = start + given.max_results
    keys = list(found.values_list("pk", flat=True)[start : stop + 1])
    is_last = len(keys) <= given.max_results
    return keys[: given.max_results], {} if is_last else {
        "next_page_token": page_token(stop, query)
    }
