"""The models of this server: which there are, which version answers, and how that changes."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..errors import Code, ServingError, invalid
from .directories import SETTLE_SECONDS
from .model_config import PLATFORM, ModelConfig, check_platform, models_in
from .versions import (
    PollingPolicy,
    ServableVersion,
    ServedModel,
    VersionLoader,
    VersionState,
    not_found,
)

log = logging.getLogger("modelserver")


class ServerCore:
    """All models, by name; used on the event loop only.

    A model that the configuration no longer names stays in `models`, for its status; it is not
    `is_served` any more.
    """

    def __init__(
        self, loading: VersionLoader, polling: PollingPolicy, *, labels_early: bool = False
    ) -> None:
        self.models: dict[str, ServedModel] = {}
        self._loading = loading
        self._polling = polling
        self._labels_early = labels_early
        self._look_now = asyncio.Event()

    def find(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> ServableVersion:
        """Return the available version that a request means."""
        model = self.models.get(name)
        if label is not None:
            if model is None or label not in model.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = model.labels[label]
        if model is None:
            raise not_found(name, version)
        return model.find(version)

    def statuses(self, name: str, version: int | None = None) -> list[ServableVersion]:
        """Return what is known of a model's versions, or of one of them, the newest first."""
        model = self.models.get(name)
        versions = sorted(model.versions.values(), key=lambda v: -v.number) if model else []
        if version is not None:
            versions = [known for known in versions if known.number == version]
            if not versions:
                raise ServingError(
                    Code.NOT_FOUND, f"Could not find version {version} of model {name}"
                )
        if not versions:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return versions

    def waiting(self) -> list[str]:
        """Return the names of the models that can't answer yet."""
        return [
            model.name for model in self.models.values() if model.is_served and not model.latest
        ]

    async def reload(self, config: Any) -> None:
        """Serve what a ModelServerConfig says and nothing else; return once new models have loaded.

        Raises ServingError: nothing has changed if the configuration is refused, and all but the
        models named in the message are served if some don't load.
        """
        await all_loaded(self.apply(config))

    def apply(self, config: Any) -> list[ServedModel]:
        """Do as `reload`, but return the new models before they have loaded."""
        match config.WhichOneof("config"):
            case "model_config_list":
                return self.set_models(models_in(config))
            case None:
                log.info("Taking no action for empty config.")
                return []
            case _ if self.models:
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    "Cannot transition to requested config. It is only legal to transition from"
                    " one ModelConfigList to another.",
                )
            case _:
                raise invalid("ModelServer does not yet support custom model config.")

    def set_models(self, wanted: Sequence[ModelConfig]) -> list[ServedModel]:
        """Serve these models and no others; return those that are new."""
        self._check(wanted)
        added: list[ServedModel] = []
        for config in wanted:
            model = self.models.get(config.name)
            if model is None:
                model = self.models[config.name] = ServedModel(
                    config.name, self._loading, self._polling
                )
            if not model.is_served:
                added.append(model)
            model.serve(config)
        names = {config.name for config in wanted}
        for model in self.models.values():
            if model.is_served and model.name not in names:
                model.unload_all()
        self._look_now.set()
        return added

    async def watch(self) -> None:
        """Follow the models' directories for as long as the server lives."""
        if self._polling.every < 0:
            return
        while True:
            self._look_now.clear()
            settling = False
            for model in list(self.models.values()):
                settling |= await model.look()
            pause = self._polling.every or (SETTLE_SECONDS / 4 if settling else None)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), pause)

    def _check(self, wanted: Sequence[ModelConfig]) -> None:
        for config in wanted:
            model = self.models.get(config.name)
            check_platform(config, before=PLATFORM if model and model.is_served else None)
            for label, number in config.labels.items():
                known = model.labels.get(label, number) if model else number
                version = model.versions.get(number) if model else None
                is_available = version is not None and version.state is VersionState.AVAILABLE
                if not is_available and not (self._labels_early and known == number):
                    raise ServingError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {number} of model {config.name},"
                        " which is not currently available for inference",
                    )


async def all_loaded(models: Sequence[ServedModel]) -> None:
    """Wait until every model has a first version or an error; raise when there are errors."""
    if not models:
        return
    done, _ = await asyncio.wait([model.first_outcome for model in models])
    failures = [
        f"{{{{name: {version.model} version: {version.number}}} due to error:"
        f" {version.error.code.name}: {version.error.message}}}, "
        for version in (outcome.result() for outcome in done)
        if version is not None and version.error is not None and version.state is VersionState.END
    ]
    if failures:
        listed = "".join(sorted(failures))
        raise ServingError(
            Code.UNKNOWN, f"{len(failures)} servable(s) did not become available: {{{listed}}}"
        )
