"""Calls as MLflow's clients make them."""

from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from tests.factories import bearer
from workspace.models import Scope

API = "api/2.0/mlflow"
JSON = "application/json"
ARTIFACTS = "api/2.0/mlflow-artifacts/artifacts"


class MlflowCaller:
    """A program with a tracking URI and a token."""

    def __init__(
        self, client: Client, user: User, scope: Scope = Scope.WRITE, team: str = "default"
    ) -> None:
        self.client, self.headers = client, bearer(user, scope)
        self.base = f"/mlflow/{team}"

    def get(self, path: str, /, **query: Any) -> Any:
        return self.client.get(f"{self.base}/{API}/{path}", query, headers=self.headers)

    def post(self, path: str, /, **fields: Any) -> Any:
        return self.client.post(
            f"{self.base}/{API}/{path}", fields, content_type=JSON, headers=self.headers
        )

    def put_artifact(self, path: str, content: bytes = b"x") -> Any:
        return self.client.put(
            f"{self.base}/{ARTIFACTS}/{path}", content, "text/plain", headers=self.headers
        )

    def artifact(self, method: str, path: str, **headers: str) -> Any:
        return self.client.generic(
            method, f"{self.base}/{ARTIFACTS}/{path}", headers={**self.headers, **headers}
        )

    def experiment(self, name: str) -> str:
        answer = self.post("experiments/create", name=name)
        assert answer.status_code == 200, answer.json()
        return str(answer.json()["experiment_id"])

    def start(self, **fields: Any) -> str:
        answer = self.post("runs/create", **fields)
        assert answer.status_code == 200, answer.json()
        return str(answer.json()["run"]["info"]["run_id"])

    def run(self, run_id: str) -> Any:
        answer = self.get("runs/get", run_id=run_id)
        assert answer.status_code == 200, answer.json()
        return answer.json()["run"]

    def data(self, run_id: str, kind: str) -> dict[str, Any]:
        """Return the metrics, params or tags of a run by key."""
        return {each["key"]: each["value"] for each in self.run(run_id)["data"][kind]}


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]
