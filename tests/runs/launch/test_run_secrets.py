"""A run that needs secrets of its team: from the submission over each start to the end."""

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.config import RunConfig
from runs.config_fields import HIDDEN
from runs.launch.run_secrets import mask_for, secrets_for_runner
from runs.models import ProcessGroup, Run, RunEvent
from runs.states import EndReason, RunStatus
from tests.factories import bearer
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import (
    Submit,
    bring_up,
    build_environments,
    end,
    leave,
    processes,
    tick,
)
from workspace.models import Team, TeamSecret
from workspace.platform.errors import Invalid
from workspace.secrets.services import delete_secret, secret_of, store_secret

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
VALUE = "wJalrXUtnFEMI/K7MDENG"
WANTED = {
    "AWS_KEY": {"secret": "aws-key"},
    "CREDENTIALS": {"secret": "account", "file": "account.json"},
}


@pytest.fixture
def secrets(team: Team, alice: User) -> None:
    store_secret(team=team, by=alice, name="aws-key", value=VALUE)
    store_secret(team=team, by=alice, name="account", value='{"token": "of-the-account"}\n')


def group_of(run: Run) -> ProcessGroup:
    group = ProcessGroup.objects.filter(run=run).order_by("attempt").last()
    assert group is not None
    return group


@pytest.mark.usefixtures("secrets")
def test_all_processes_get_the_values_and_nothing_of_the_run_shows_them(
    submit: Submit, client: Client, vera: User, team: Team
) -> None:
    run = bring_up(submit(secrets=WANTED))

    assert secrets_for_runner(group_of(run).encrypted_secrets) == {
        "AWS_KEY": {"value": VALUE, "file": ""},
        "CREDENTIALS": {"value": '{"token": "of-the-account"}\n', "file": "account.json"},
    }
    assert secret_of(team, "aws-key").last_used_at is not None
    client.force_login(vera)
    at = f"/t/default/runs/{run.number}"
    seen = [
        client.get(f"/api/v1/teams/default/runs/{run.number}", headers=bearer(vera)).text,
        client.get(f"{at}/configuration/").text,
        client.get(f"{at}/timeline/").text,
        json.dumps(run.config),
        str(list(RunEvent.objects.values_list("data", flat=True))),
        str([(p.launch, p.exit_reason) for p in processes(run)]),
    ]
    assert not any(VALUE in text or "of-the-account" in text for text in seen)
    assert all("aws-key" in text for text in (seen[0], seen[1], seen[3]))


def test_an_unknown_secret_is_refused_with_the_nearest_name(submit: Submit, secrets: None) -> None:
    with pytest.raises(Invalid) as caught:
        submit(secrets={"A": {"secret": "aws-kye"}, "B": {"secret": "nothing-like-it"}})

    found = {error.field: error.message for error in caught.value.errors}
    assert found == {
        "secrets.A.secret": "The team has no secret 'aws-kye'. Did you mean aws-key?",
        "secrets.B.secret": "The team has no secret 'nothing-like-it'."
        " An admin of the team can add it.",
    }


@pytest.mark.usefixtures("secrets")
def test_a_secret_that_is_deleted_before_the_start_ends_the_run_in_words(
    submit: Submit, team: Team, alice: User
) -> None:
    run = submit(secrets=WANTED)
    delete_secret(secret=secret_of(team, "aws-key"), by=alice)

    tick(run)
    build_environments()
    tick(run)
    tick(run)

    assert (run.status, run.end_reason) == (RunStatus.FAILED, EndReason.START_FAILED)
    assert run.end_detail["message"] == (
        "The secret aws-key was deleted. Add it again, or submit the run without it."
    )


@pytest.mark.usefixtures("secrets")
def test_a_secret_of_a_lost_key_ends_its_run_and_no_other(submit: Submit) -> None:
    TeamSecret.objects.update(encrypted_value="of another SECRET_KEY")
    hit, other = submit(secrets=WANTED), submit()

    tick(hit)
    build_environments()
    tick(hit)
    tick(other)

    hit.refresh_from_db()
    assert (hit.status, hit.end_reason) == (RunStatus.FAILED, EndReason.START_FAILED)
    assert "SECRET_KEY has changed" in hit.end_detail["message"]
    assert other.status == RunStatus.STARTING


@pytest.mark.usefixtures("secrets")
def test_an_attempt_keeps_its_values_and_the_next_one_gets_the_new_ones(
    submit: Submit, team: Team, alice: User, backend: FakeBackend
) -> None:
    run = bring_up(submit(secrets=WANTED, max_restarts=1))
    first = group_of(run)
    store_secret(team=team, by=alice, name="aws-key", value="the-second-value")

    first.refresh_from_db()
    assert secrets_for_runner(first.encrypted_secrets)["AWS_KEY"]["value"] == VALUE
    end(processes(run)[0], 137)
    leave(run, backend)
    for _ in range(4):
        tick(run)

    second = group_of(run)
    assert second.attempt == 2
    assert secrets_for_runner(second.encrypted_secrets)["AWS_KEY"]["value"] == "the-second-value"


@pytest.mark.usefixtures("secrets")
def test_an_attempt_that_is_over_keeps_no_values(submit: Submit, backend: FakeBackend) -> None:
    run = bring_up(submit(secrets=WANTED))
    end(processes(run)[0])
    leave(run, backend)

    assert tick(run).status == RunStatus.COMPLETED
    assert group_of(run).encrypted_secrets == ""


def test_variables_and_parameters_that_look_like_secrets_are_masked_too(submit: Submit) -> None:
    run = bring_up(
        submit(
            environment_variables={"AWS_SECRET_ACCESS_KEY": VALUE, "PLAIN": "plain-value"},
            script_params={"--hf-token": "hf_abcdef", "--epochs": 3},
        )
    )

    encrypted = group_of(run).encrypted_secrets
    mask = mask_for(encrypted)
    assert mask is not None
    printed = f"{VALUE} plain-value hf_abcdef 3"
    assert mask.text(printed) == f"{'*' * len(VALUE)} plain-value ********* 3"
    assert secrets_for_runner(encrypted) == {}


def test_no_log_loses_the_ordinary_words_of_a_configuration(submit: Submit) -> None:
    run = bring_up(
        submit(
            environment_variables={"MYSQL_PASSWORD": "training", "DB_PASSWORD": "trainingA1"},
            script_params={"--sort-key": "accuracy", "--pad-token": "<|endoftext|>"},
        )
    )

    mask = mask_for(group_of(run).encrypted_secrets)
    assert mask is not None
    line = "training: accuracy 0.98, next <|endoftext|>"
    assert mask.text(f"{line} trainingA1") == f"{line} **********"
    config = RunConfig.from_row(run.config).for_viewers()
    assert set(config.environment_variables.values()) == {HIDDEN}


def test_more_secrets_than_a_run_can_have_are_refused(
    submit: Submit, team: Team, alice: User
) -> None:
    wanted = {}
    for number in range(3):
        store_secret(team=team, by=alice, name=f"key-{number}", value="x" * 60_000)
        wanted[f"KEY_{number}"] = {"secret": f"key-{number}"}

    with pytest.raises(Invalid) as caught:
        submit(secrets=wanted)

    (error,) = caught.value.errors
    assert error.field == "secrets"
    assert "131,072 bytes together; these have 180,000" in error.message


def test_a_run_without_secrets_has_no_mask(submit: Submit) -> None:
    run = bring_up(submit())

    assert group_of(run).encrypted_secrets == ""
    assert mask_for("") is None
