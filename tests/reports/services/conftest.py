"""The stage on which services are deployed."""

from tests.deploy.conftest import register, stage, target, web

__all__ = ["register", "stage", "target", "web"]
