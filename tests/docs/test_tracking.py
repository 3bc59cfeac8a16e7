"""docs/tracking.md lists every call of MLflow's protocol that is answered."""

from models.mlflow.endpoints import API, ENDPOINTS
from tests.docs.pages import codes_in, rows_of


def test_every_call_of_mlflow_is_listed_and_nothing_else() -> None:
    listed = [(row[0], codes_in(row[1])[0]) for row in rows_of("docs/tracking.md", "method")]
    assert len(listed) == len(set(listed))
    assert set(listed) == {(endpoint.method, f"{API}{endpoint.path}") for endpoint in ENDPOINTS}
