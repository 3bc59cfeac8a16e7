"""Uses an unmodified MLflow client as programs do; exits with an error where something is amiss.

Run by the Python of an environment with MLflow, with its tracking URI and tokens in the variables.
"""

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities import Metric, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

NAMES = ["with blank.txt", "a+b.txt", "größe.txt", "100% sure.txt", "empty.bin", "deep/er/x.json"]


def check(is_so: bool, what: object) -> None:
    if not is_so:
        sys.exit(f"not so: {what}")


@contextmanager
def fails(code: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        check(error.error_code == code, f"{error.error_code} is {code}: {error}")
    else:
        sys.exit(f"should fail with {code}")


def experiments(client: MlflowClient) -> None:
    made = mlflow.set_experiment("clients").experiment_id
    check(mlflow.set_experiment("clients").experiment_id == made, "set_experiment finds its own")
    client.set_experiment_tag(made, "owner", "ada")
    check(client.get_experiment(made).tags == {"owner": "ada"}, "experiment tags")
    other = client.create_experiment("other")
    client.rename_experiment(other, "another")
    found = client.search_experiments(
        filter_string="name LIKE 'a%'", order_by=["creation_time DESC"], max_results=1
    )
    check([one.experiment_id for one in found] == [other], "search_experiments")
    client.delete_experiment(other)
    check(client.get_experiment_by_name("another").lifecycle_stage == "deleted", "deleted")
    with fails("RESOURCE_ALREADY_EXISTS"):
        client.create_experiment("another")
    client.restore_experiment(other)
    with fails("RESOURCE_DOES_NOT_EXIST"):
        client.get_experiment("999999")


def runs(client: MlflowClient) -> None:
    with mlflow.start_run(run_name="named", description="By hand.") as run:
        check(run.info.run_name == "named", "run_name")
        mlflow.log_param("lr", 0.1)
        mlflow.log_param("lr", 0.1)
        with fails("INVALID_PARAMETER_VALUE"):
            client.log_param(run.info.run_id, "lr", 0.2)
        mlflow.log_params({"a": 1, "b c": "x", "long": "x" * 5000})
        mlflow.log_metric("not a number", float("nan"), step=3)
        mlflow.log_metrics({"up": math.inf, "down": -math.inf, "val acc": 0.75}, step=-1)
        mlflow.set_tags({"kind": "first", "mlflow.x": "y"})
        mlflow.set_tag("gone", 1)
        mlflow.delete_tag("gone")
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("child", 1)
    points = [Metric("many", step / 10, 1000 + step, step) for step in range(1001)]
    client.log_batch(run.info.run_id, points[:1000])
    client.log_batch(run.info.run_id, points[1000:])
    history = client.get_metric_history(run.info.run_id, "many")
    check([(p.step, p.value) for p in history] == [(p.step, p.value) for p in points], "history")
    found = client.get_run(run.info.run_id)
    check(found.info.status == "FINISHED", found.info.status)
    check(found.info.end_time is not None, "end_time")
    check(math.isnan(found.data.metrics["not a number"]), found.data.metrics)
    check(found.data.metrics["up"] == math.inf, found.data.metrics)
    check(found.data.metrics["many"] == 100.0, found.data.metrics)
    check(found.data.params["long"] == "x" * 5000, "long parameter")
    check("gone" not in found.data.tags, found.data.tags)
    check(found.data.tags["mlflow.note.content"] == "By hand.", found.data.tags)
    parent = client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"]
    check(parent == run.info.run_id, parent)
    try:
        with mlflow.start_run() as failing:
            check(bool(failing.info.run_name), "a name is made")
            raise ArithmeticError
    except ArithmeticError:
        check(client.get_run(failing.info.run_id).info.status == "FAILED", "FAILED")

    client.delete_run(failing.info.run_id)
    with fails("INVALID_PARAMETER_VALUE"):
        client.log_metric(failing.info.run_id, "late", 1)
    client.restore_run(failing.info.run_id)
    client.log_metric(failing.info.run_id, "late", 1)
    os.environ["MLFLOW_RUN_ID"] = run.info.run_id
    with mlflow.start_run() as again:
        check(again.info.run_id == run.info.run_id, "MLFLOW_RUN_ID")
        mlflow.log_metric("again", 1)
    with fails("RESOURCE_DOES_NOT_EXIST"):
        client.get_run("424242")


def artifacts(client: MlflowClient, folder: Path) -> None:
    with mlflow.start_run() as run:
        run_id = run.info.run_id
        mlflow.log_dict({"a": [1, 2]}, "dicts/d.json")
        mlflow.log_text("text", "texts/t.txt")
        for name in NAMES:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"" if name.startswith("empty") else name.encode())
        mlflow.log_artifacts(str(folder), "odd")
    found = listed(client, run_id, "")
    check(found == {"dicts/d.json", "texts/t.txt"} | {f"odd/{name}" for name in NAMES}, found)
    sizes = {file.path: file.file_size for file in client.list_artifacts(run_id, "odd")}
    check(sizes["odd/empty.bin"] == 0, sizes)
    check(client.list_artifacts(run_id, "texts/t.txt") == [], "nothing is in a file")
    check(client.list_artifacts(run_id, "nowhere") == [], "nothing is nowhere")
    with tempfile.TemporaryDirectory() as target:
        here = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=target))
        check(json.loads((here / "dicts/d.json").read_text()) == {"a": [1, 2]}, "log_dict")
        for name in NAMES:
            expected = b"" if name.startswith("empty") else name.encode()
            check((here / "odd" / name).read_bytes() == expected, name)
    one = mlflow.artifacts.load_text(f"runs:/{run_id}/texts/t.txt")
    check(one == "text", one)


def listed(client: MlflowClient, run_id: str, path: str) -> set[str]:
    found: set[str] = set()
    for file in client.list_artifacts(run_id, path or None):
        found |= listed(client, run_id, file.path) if file.is_dir else {file.path}
    return found


def search(client: MlflowClient) -> None:
    experiment = client.create_experiment("searched")
    ids = []
    for number in range(5):
        run = client.create_run(experiment, run_name=f"run {number}", start_time=1000 + number)
        ids.append(run.info.run_id)
        client.log_param(run.info.run_id, "lr", number / 10)
        client.log_metric(run.info.run_id, "val acc", number)
        if number:
            client.set_tag(run.info.run_id, "kind", f"Kind-{number}")
    client.set_terminated(ids[0], "KILLED")

    def find(text: str, order: str = "attributes.start_time ASC") -> list[int]:
        rows = client.search_runs([experiment], text, order_by=[order])
        return [ids.index(row.info.run_id) for row in rows]

    for text, expected in {
        "": [0, 1, 2, 3, 4],
        "metrics.`val acc` > 3": [4],
        "metrics.`val acc` >= 3 AND metrics.`val acc` != 4": [3],
        'metrics."val acc" < 1': [0],
        "params.lr = '0.2'": [2],
        "params.lr != '0.2'": [0, 1, 3, 4],
        "params.lr LIKE '0.%'": [0, 1, 2, 3, 4],
        "tags.kind ILIKE 'kind-%'": [1, 2, 3, 4],
        "tags.kind LIKE 'kind-%'": [],
        "attributes.status = 'KILLED'": [0],
        "run_name = 'run 3'": [3],
        "tags.mlflow.runName = 'run 3'": [3],
        "start_time > 1002": [3, 4],
        f"run_id IN ('{ids[1]}', '{ids[2]}')": [1, 2],
        f"attributes.run_id NOT IN ('{ids[1]}')": [0, 2, 3, 4],
    }.items():
        check(find(text) == expected, f"{text}: {find(text)}")
    check(find("", "metrics.`val acc` DESC") == [4, 3, 2, 1, 0], "order")
    for text in ("metrics.a = 'x'", "foo.bar = 'x'", "params.lr = 0.1", "metrics.a > 1 OR x"):
        with fails("INVALID_PARAMETER_VALUE"):
            find(text)
    pages, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=2, page_token=token)
        pages.append(len(page))
        if not (token := page.token):
            break
    check(pages == [2, 2, 1], pages)
    client.delete_run(ids[4])
    for view, count in (
        (ViewType.ACTIVE_ONLY, 4),
        (ViewType.DELETED_ONLY, 1),
        (ViewType.ALL, 5),
    ):
        check(len(client.search_runs([experiment], run_view_type=view)) == count, view)


def refusals(client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    for variable, code in (
        ("READER_TOKEN", "PERMISSION_DENIED"),
        ("EXPIRED_TOKEN", "UNAUTHENTICATED"),
        ("STRANGERS_TOKEN", "RESOURCE_DOES_NOT_EXIST"),
    ):
        token = os.environ["MLFLOW_TRACKING_TOKEN"]
        os.environ["MLFLOW_TRACKING_TOKEN"] = os.environ[variable]
        with fails(code):
            client.set_tag(run_id, "a", "b")
        os.environ["MLFLOW_TRACKING_TOKEN"] = token


def main() -> None:
    client = MlflowClient()
    with tempfile.TemporaryDirectory() as folder:
        steps: list[Callable[[], None]] = [
            lambda: experiments(client),
            lambda: runs(client),
            lambda: artifacts(client, Path(folder)),
            lambda: search(client),
            lambda: refusals(client),
        ]
        for step in steps:
            step()
    print("all as it should be")


if __name__ == "__main__":
    main()
