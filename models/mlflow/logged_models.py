"""Models that clients of MLflow 3 log beside runs: there are none yet, and searches say so.

These clients search for them whenever they list artifacts, and take no 404 there.
"""

from typing import Any

from models.mlflow.requests import MlflowRequest
from models.mlflow.transport import Caller


def search_logged_models(caller: Caller, given: MlflowRequest) -> dict[str, Any]:
    return {"models": []}
