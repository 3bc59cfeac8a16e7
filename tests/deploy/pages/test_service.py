"""The pages of services."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from deploy.models import Service, ServiceState
from models.models import ModelVersion
from tests.deploy.conftest import RegisterModel
from workspace.accounts.tokens import digest_of
from workspace.models import ComputeTarget

SERVICES = "/t/default/services/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def version(register: RegisterModel, target: ComputeTarget) -> ModelVersion:
    return register()


def deploy_quickly(client: Client, user: User) -> str:
    client.force_login(user)
    answer = client.post(f"{SERVICES}-/quick/", {"model": "digits:1"})
    assert answer.status_code == 302
    return str(answer["Location"])


def test_one_click_deploys_and_shows_the_keys_once(
    client: Client, bob: User, version: ModelVersion
) -> None:
    address = deploy_quickly(client, bob)
    assert address == f"{SERVICES}digits/"
    page = client.get(address)
    text = page.content.decode()
    keys = page.context["new_keys"]
    assert set(keys) == {"primary", "secondary"}
    assert all(key in text for key in keys.values())
    stored = set(Service.objects.get().keys.values_list("digest", flat=True))
    assert {digest_of(key) for key in keys.values()} == stored
    assert page["Cache-Control"] == "no-store"
    again = client.get(address).content.decode()
    assert not any(key in again for key in keys.values())


def test_the_page_shows_address_and_example(
    client: Client, bob: User, version: ModelVersion
) -> None:
    page = client.get(deploy_quickly(client, bob)).content.decode()
    assert "/api/v1/teams/default/services/digits/score" in page
    assert "[0.0, 0.0, 0.0, 0.0]" in page
    assert "curl " in page
    assert "requests.post" in page
    assert "await fetch" in page


def test_a_second_service_of_a_model_gets_another_name(
    client: Client, bob: User, version: ModelVersion
) -> None:
    deploy_quickly(client, bob)
    assert deploy_quickly(client, bob) == f"{SERVICES}digits-2/"


def test_a_service_is_made_with_options(client: Client, bob: User, version: ModelVersion) -> None:
    client.force_login(bob)
    page = client.get(f"{SERVICES}-/new/?model=digits&version=1")
    assert page.context["form"].initial["name"] == "digits"
    fields = {"name": "mine", "model": "digits:1", "target": "local", "replicas": 2, "cpu": "0.5"}
    answer = client.post(f"{SERVICES}-/new/", fields)
    assert answer["Location"] == f"{SERVICES}mine/"
    revision = Service.objects.get(name="mine").revisions.get()
    assert (revision.replica_count, revision.resources["cpu"]) == (2, 0.5)
    answer = client.post(f"{SERVICES}-/new/", fields | {"cpu": "-1"})
    assert answer.status_code == 422
    assert "cpu" in answer.context["form"].errors
    answer = client.post(f"{SERVICES}-/new/", fields)
    assert "already has a service" in answer.context["form"].errors["name"][0]


def test_settings_switch_and_keys_do_as_they_say(
    client: Client, bob: User, version: ModelVersion, register: RegisterModel
) -> None:
    address = deploy_quickly(client, bob)
    register()
    client.post(f"{address}switch/", {"model": "digits:2"})
    service = Service.objects.get()
    assert service.revisions.count() == 2
    client.post(f"{address}settings/", {"model": "digits:2", "replicas": 3, "memory_gb": "2.0"})
    assert service.revisions.order_by("-number")[0].replica_count == 3
    client.get(address)
    old = service.keys.get(slot="primary").digest
    client.post(f"{address}keys/primary/")
    new = client.get(address).context["new_keys"]
    assert list(new) == ["primary"]
    assert service.keys.get(slot="primary").digest == digest_of(new["primary"]) != old
    assert client.post(f"{address}keys/third/").status_code == 404


def test_stop_start_and_delete(client: Client, bob: User, version: ModelVersion) -> None:
    address = deploy_quickly(client, bob)
    client.post(f"{address}stop/")
    assert not Service.objects.get().is_wanted
    client.post(f"{address}start/")
    assert Service.objects.get().is_wanted
    client.post(f"{address}delete/")
    assert client.get(address).status_code == 404
    assert "No services yet" in client.get(SERVICES).content.decode()


def test_a_failure_is_shown_with_the_last_lines_escaped(
    client: Client, bob: User, version: ModelVersion
) -> None:
    address = deploy_quickly(client, bob)
    Service.objects.update(
        state=ServiceState.FAILED, state_reason="server-0 ended with exit code 1\n<script>x"
    )
    for page in (address, f"{address}head/"):
        text = client.get(page).content.decode()
        assert "server-0 ended with exit code 1" in text
        assert "&lt;script&gt;x" in text
        assert "Try again" in text


@pytest.mark.django_db(transaction=True)  # the gateway reads in a thread of its own
def test_trying_a_service_that_is_not_ready_says_so(
    client: Client, bob: User, version: ModelVersion
) -> None:
    address = deploy_quickly(client, bob)
    Service.objects.update(is_wanted=False, state=ServiceState.STOPPED)
    answer = client.post(f"{address}try/", {"body": "{}"})
    assert answer.context["status"] == 503
    assert "This service is stopped" in answer.content.decode()


def test_many_services_have_pages(client: Client, bob: User, version: ModelVersion) -> None:
    deploy_quickly(client, bob)
    first = Service.objects.get()
    names = [f"many-{number:03}" for number in range(60)]
    for name in names:
        made = Service.objects.create(team=first.team, name=name, target=first.target)
        made.revisions.create(number=1, model_version=version)
    page = client.get(SERVICES)
    assert len(page.context["rows"]) == 50
    rest = client.get(SERVICES + page.context["following"])
    assert [service.name for service, _ in rest.context["rows"]] == names[49:]
    assert "More" not in rest.content.decode()


PAGES = (
    "",
    "digits/",
    "digits/head/",
    "digits/logs/",
    "digits/history/",
    "digits/traffic/",
    "digits/drift/",
)
CHANGES = (
    "-/quick/",
    "-/new/",
    "digits/settings/",
    "digits/try/",
    "digits/switch/",
    "digits/start/",
    "digits/stop/",
    "digits/delete/",
    "digits/keys/primary/",
)


def test_pages_are_for_the_team_and_changes_for_its_members(
    client: Client, bob: User, vera: User, charlie: User, version: ModelVersion
) -> None:
    deploy_quickly(client, bob)
    before = list(Service.objects.values()), list(Service.objects.get().keys.values())
    client.force_login(vera)
    assert {client.get(SERVICES + page).status_code for page in PAGES} == {200}
    assert {
        client.post(SERVICES + page, {"model": "digits:1"}).status_code for page in CHANGES
    } == {403}
    client.force_login(charlie)
    assert {client.get(SERVICES + page).status_code for page in PAGES} == {404}
    assert {
        client.post(SERVICES + page, {"model": "digits:1"}).status_code for page in CHANGES
    } == {404}
    assert before == (list(Service.objects.values()), list(Service.objects.get().keys.values()))
