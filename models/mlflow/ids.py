"""What experiments, runs and artifacts are called in the protocol."""

from datetime import UTC, datetime, timedelta

from runs.models import Run
from runs.selectors import runs_of
from workspace.models import Experiment, Team
from workspace.platform.errors import NotFound
from workspace.platform.requests import is_whole_number

# The experiment of runs that name none, which is there in every team.
DEFAULT_NAME = "Default"
DEFAULT_ID = "0"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def experiment_id(experiment: Experiment) -> str:
    return DEFAULT_ID if experiment.name == DEFAULT_NAME else str(experiment.pk)


def default_experiment(team: Team) -> Experiment:
    experiment, _ = Experiment.objects.get_or_create(team=team, name=DEFAULT_NAME)
    return experiment


def experiment_with_id(team: Team, given: str) -> Experiment:
    if given == DEFAULT_ID:
        return default_experiment(team)
    experiments = Experiment.objects.filter(team=team)
    found = (
        experiments.filter(pk=int(given)).first() if is_whole_number(given, max_digits=18) else None
    )
    if found is None:
        raise NotFound(f"No Experiment with id={given[:100]} exists")
    return found


def run_with_id(team: Team, given: str) -> Run:
    runs = runs_of(team)
    found = runs.filter(number=int(given)).first() if is_whole_number(given) else None
    if found is None:
        raise NotFound(f"Run with id={given[:100]} not found")
    return found


def artifact_uri(run: Run) -> str:
    return f"mlflow-artifacts:/{experiment_id(run.experiment)}/{run.number}/artifacts"


def milliseconds(at: datetime) -> int:
    return (at - EPOCH) // MILLISECOND


def moment(given: int) -> datetime:
    return EPOCH + given * MILLISECOND
