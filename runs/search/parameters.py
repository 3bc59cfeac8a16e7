"""Parameters of runs: what a script got, by the names that people find and compare runs by."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from runs.config_fields import HIDDEN, looks_secret
from runs.models import Run, RunParameter

MAX_NAME = 250
MAX_VALUE = 6_000


def parameters_in(script_params: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that a script gets, without the dashes before their names.

    A flag has an empty value, `--name=value` one of its own, and a list its items with blanks
    between them. Of what looks like a secret only the name is kept, as viewers may search too.
    """
    found: dict[str, str] = {}
    for key, given in script_params.items():
        name, value = key, _text(given)
        if not value and key.startswith("-"):
            name, _, value = key.partition("=")
        shown = HIDDEN if looks_secret(name, given or value) else value
        name = name.lstrip("-")
        if 0 < len(name) <= MAX_NAME:
            found[name] = shown[:MAX_VALUE]
    return found


def number_in(value: str) -> float | None:
    """Return the number that a value is, by which runs are sorted; None for other texts."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def store_parameters(run: Run, script_params: Mapping[str, Any]) -> None:
    RunParameter.objects.bulk_create(
        RunParameter(run=run, name=name, value=value, number=number_in(value))
        for name, value in parameters_in(script_params).items()
    )


def parameters_of(run: Run) -> dict[str, str]:
    return parameters_of_runs([run.pk])[run.pk]


def parameters_of_runs(runs: Iterable[int]) -> dict[int, dict[str, str]]:
    """Return the parameters of runs by name, by the runs' ids."""
    found: dict[int, dict[str, str]] = {run: {} for run in runs}
    rows = RunParameter.objects.filter(run__in=found).order_by("name")
    for run, name, value in rows.values_list("run", "name", "value"):
        found[run][name] = value
    return found


def _text(given: Any) -> str:
    items = given if isinstance(given, list) else [given]
    return " ".join(str(item) for item in items if item is not None)
