"""Which models to serve, from where and which of their versions, as configuration files say it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import invalid
from ..textproto import read_text_file

PLATFORM = "tensorflow"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions on disk are served: the newest few, all of them, or named ones."""

    latest: int = 1
    every: bool = False
    specific: frozenset[int] | None = None

    def choose(self, found: Iterable[int]) -> list[int]:
        """Return the versions to serve, the newest first."""
        newest_first = sorted(found, reverse=True)
        if self.specific is not None:
            return [number for number in newest_first if number in self.specific]
        return newest_first if self.every else newest_first[: max(1, self.latest)]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model of a configuration."""

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = PLATFORM


def read_config_file(path: Path) -> Any:
    """Return the ModelServerConfig that a text file holds."""
    from tensorflow_serving.config import model_server_config_pb2

    return read_text_file(path, model_server_config_pb2.ModelServerConfig())


def models_in(config: Any) -> list[ModelConfig]:
    """Return the models of a ModelServerConfig, once all of them make sense."""
    models: dict[str, ModelConfig] = {}
    for entry in config.model_config_list.config:
        if entry.name in models:
            raise invalid(f"Illegal to list model {entry.name} multiple times in config list")
        models[entry.name] = ModelConfig(
            entry.name,
            Path(entry.base_path),
            _policy(entry.model_version_policy),
            dict(entry.version_labels),
            _platform(entry),
        )
    for model in models.values():
        check_model(model)
    return list(models.values())


def check_model(model: ModelConfig) -> None:
    """Refuse what can't be served, in TensorFlow Serving's words."""
    if not model.name:
        raise invalid("A model of the config list has no name")
    if not model.base_path.is_absolute():
        given = "" if model.base_path == Path() else model.base_path
        raise invalid(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={given}"
        )
    if "\0" in str(model.base_path):
        raise invalid(f"The base_path of model {model.name} has a null character in it")


def check_platform(model: ModelConfig, *, before: str | None) -> None:
    """Refuse a platform that there is not, or another one than a model has already."""
    if before is not None and model.platform != before:
        raise invalid(
            f"Illegal to change a model's platform. For model {model.name} platform was {before}"
            f" and new platform requested is {model.platform}"
        )
    if model.platform != PLATFORM:
        raise invalid(f"Model {model.name} requests unsupported platform {model.platform}")


def _platform(entry: Any) -> str:
    if not entry.model_type:
        if not entry.model_platform:
            raise invalid(
                "Illegal setting neither ModelServerConfig::model_type (deprecated)"
                f" nor ModelServerConfig::model_platform. Give model {entry.name}"
                f' model_platform: "{PLATFORM}"'
            )
        return str(entry.model_platform)
    if entry.model_platform:
        raise invalid(
            "Illegal setting both ModelServerConfig::model_type (deprecated)"
            " and ModelServerConfig::model_platform."
        )
    if entry.model_type != 1:
        raise invalid(f"ModelServerConfig::model_type choice {entry.model_type} not supported.")
    return PLATFORM


def _policy(policy: Any) -> VersionPolicy:
    match policy.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(every=True)
        case "specific":
            return VersionPolicy(specific=frozenset(policy.specific.versions))
        case _:
            return VersionPolicy(latest=policy.latest.num_versions or 1)
