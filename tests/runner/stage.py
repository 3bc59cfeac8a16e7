"""Processes of a group on this machine, as the local backend starts them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.runner.web import FakeServer, Told, spec, until
from workspace.compute.access import TargetAccess
from workspace.compute.base import GroupPlan, ProcessPlan
from workspace.compute.local.backend import LocalBackend

ENVIRONMENT = "environments/plain"


def make_environment(home: Path) -> None:
    """Make an environment that is this Python, bare."""
    binaries = home / ENVIRONMENT / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(Path(sys.executable).resolve())


def python(script: str) -> list[str]:
    return ["python", "-c", script]


class Group:
    """A group of workers, one for each spec."""

    def __init__(
        self,
        home: Path,
        web: FakeServer,
        specs: Sequence[dict[str, Any]],
        label: str = "run-1-1",
        ca_bundle: str = "",
    ) -> None:
        self.web = web
        self.label = label
        self.home = home
        self.backend = LocalBackend(TargetAccess(home=str(home)))
        self.names = [f"worker-{index}" for index in range(len(specs))]
        self.told: list[Told] = [
            web.expect(f"{label}-{name}", spec=each)
            for name, each in zip(self.names, specs, strict=True)
        ]
        self.plan = GroupPlan(
            label,
            ENVIRONMENT,
            tuple(
                ProcessPlan(
                    "worker",
                    index,
                    {
                        "TRAINYARD_URL": web.url,
                        "TRAINYARD_PROCESS_TOKEN": f"{label}-{name}",
                        "TRAINYARD_CA_BUNDLE": ca_bundle,
                    },
                    ports=1,
                )
                for index, name in enumerate(self.names)
            ),
        )

    def start(self) -> "Group":
        self.backend.start(self.plan)
        return self

    def folder(self, index: int = 0) -> Path:
        return self.home / "local" / self.label / f"worker-{index}"

    def until_collected(self) -> None:
        until(lambda: all(told.collected for told in self.told), f"collected: {self.told}")


def one(home: Path, web: FakeServer, script: str, **changes: Any) -> tuple[Group, Told]:
    """Start one process that runs a script."""
    group = Group(home, web, [spec(python(script), **changes)])
    return group.start(), group.told[0]
