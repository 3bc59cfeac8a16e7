"""People search the list of runs by words or a filter, and choose and sort its columns."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import MetricSeries
from runs.search.parameters import store_parameters
from tests.factories import make_run
from workspace.models import Team

pytestmark = pytest.mark.django_db
LIST = "/t/default/runs/"


@pytest.fixture(autouse=True)
def page(client: Client, team: Team, vera: User) -> Client:
    for loss in (0.5, None, 0.25):
        run = make_run(team, vera, tags={"data": "mnist"})
        store_parameters(run, {"--lr": f"{run.number}e-3", "--note": "<b>"})
        if loss is not None:
            MetricSeries.objects.create(run=run, name="loss", last_step=1, last_value=loss)
    client.force_login(vera)
    return client


def text_of(page: Client, **query: str) -> str:
    return page.get(LIST, query).content.decode()


def numbers(html: str) -> list[int]:
    return [int(number) for number in re.findall(r"row-link number.*?#(\d+)", html)]


def test_the_search_box_takes_a_filter(page: Client) -> None:
    assert numbers(text_of(page, q="metrics.loss < 0.4")) == [3]
    assert numbers(text_of(page, q="params.lr = '1e-3' AND tags.data = 'mnist'")) == [1]


@pytest.mark.parametrize("words", ["train.py", "vera", "digits"])
def test_the_search_box_takes_plain_words(page: Client, words: str) -> None:
    assert numbers(text_of(page, q=words)) == [3, 2, 1]


def test_an_error_of_a_filter_is_shown_by_the_box(page: Client) -> None:
    html = text_of(page, q="metrics.loss < 'low'")
    assert "Expected numeric value type for metric. Found &#x27;low&#x27;" in html
    assert 'aria-invalid="true"' in html
    assert numbers(html) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"columns": "params.lr metrics.loss"}, "Use names with commas between them"),
        ({"columns": "dataset.name"}, "Use params, metrics, tags or attributes."),
        ({"columns": ",".join(f"params.p{n}" for n in range(13))}, "Use at most 12."),
        ({"sort": "loss"}, "Use KIND:NAME:asc or KIND:NAME:desc"),
    ],
)
def test_columns_and_sorts_that_cannot_be_read_are_named(
    page: Client, query: dict[str, str], message: str
) -> None:
    assert message in text_of(page, **query)


def test_columns_show_values_and_sort_by_a_click(page: Client) -> None:
    columns: dict[str, Any] = {"columns": "params.lr,metrics.loss,tags.data,params.note,created"}
    html = text_of(page, **columns)
    for shown in ("3e-3", "0.25", "mnist", "&lt;b&gt;"):
        assert f'class="number">{shown}</td>' in html
    heads = [link.replace("&amp;", "&") for link in re.findall(r'href="(\?[^"]*sort=[^"]*)"', html)]
    assert len(heads) == 5
    up = page.get(f"{LIST}{heads[1]}").content.decode()
    assert (numbers(up), 'aria-sort="ascending"' in up) == ([3, 1, 2], True)
    assert numbers(text_of(page, **columns, sort="metric:loss:desc")) == [1, 3, 2]
