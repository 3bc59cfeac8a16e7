"""Names for versions: what they may point at, and when."""

from pathlib import Path

import pytest

from deploy.modelserver.errors import Code, ServingError
from deploy.modelserver.loading.model_config import VersionPolicy
from deploy.modelserver.loading.server_core import ServerCore, all_loaded

from ..cores import ModelDirectories, available, until

BOTH = VersionPolicy(latest=2)


@pytest.fixture
def shelf(tmp_path: Path) -> ModelDirectories:
    shelf = ModelDirectories(tmp_path)
    shelf.put("m", 1, 2)
    return shelf


async def serve_both(shelf: ModelDirectories, core: ServerCore) -> None:
    core.set_models([shelf.config("m", BOTH)])
    await until(lambda: available(core, "m") == [1, 2], "both versions")


async def test_a_label_leads_to_its_version_and_moves_with_the_configuration(
    shelf: ModelDirectories,
) -> None:
    async with shelf.core() as core:
        await serve_both(shelf, core)

        core.set_models([shelf.config("m", BOTH, stable=1, canary=2)])
        assert core.find("m", label="stable").number == 1
        assert core.find("m", label="canary").number == 2

        core.set_models([shelf.config("m", BOTH, stable=2)])
        assert core.find("m", label="stable").number == 2
        with pytest.raises(ServingError) as unknown:
            core.find("m", label="canary")
        assert unknown.value.code is Code.INVALID_ARGUMENT
        assert unknown.value.message == "Unrecognized servable version label: canary"


async def test_a_label_of_an_unknown_model_is_unrecognized(shelf: ModelDirectories) -> None:
    async with shelf.core() as core:
        with pytest.raises(ServingError, match="Unrecognized servable version label: stable"):
            core.find("x", label="stable")


async def test_a_label_for_a_version_that_is_not_there_refuses_the_whole_configuration(
    shelf: ModelDirectories,
) -> None:
    async with shelf.core() as core:
        await serve_both(shelf, core)
        core.set_models([shelf.config("m", BOTH, stable=1)])

        with pytest.raises(ServingError) as refused:
            core.set_models([shelf.config("n"), shelf.config("m", BOTH, stable=1, next=3)])

        assert refused.value.code is Code.FAILED_PRECONDITION
        assert refused.value.message == (
            "Request to assign label to version 3 of model m, which is not currently available for"
            " inference"
        )
        assert core.find("m", label="stable").number == 1
        assert "n" not in core.models


async def test_at_the_start_a_label_needs_the_flag_and_then_waits_for_its_version(
    shelf: ModelDirectories,
) -> None:
    async with shelf.core() as core:
        with pytest.raises(ServingError, match="assign label to version 1 of model m"):
            core.set_models([shelf.config("m", BOTH, stable=1)])
    async with shelf.core(labels_early=True) as core:
        shelf.gate.clear()
        added = core.set_models([shelf.config("m", BOTH, stable=1)])
        with pytest.raises(ServingError, match=r"not found for request: Specific\(m, 1\)"):
            core.find("m", label="stable")

        shelf.gate.set()
        await all_loaded(added)
        await until(lambda: available(core, "m") == [1, 2], "both versions")

        assert core.find("m", label="stable").number == 1


async def test_even_with_the_flag_a_known_label_moves_only_to_an_available_version(
    shelf: ModelDirectories,
) -> None:
    async with shelf.core(labels_early=True) as core:
        await serve_both(shelf, core)
        core.set_models([shelf.config("m", BOTH, stable=1)])

        with pytest.raises(ServingError, match="assign label to version 3 of model m"):
            core.set_models([shelf.config("m", BOTH, stable=3)])
        core.set_models([shelf.config("m", BOTH, stable=1, next=3)])

        assert core.find("m", label="stable").number == 1
        with pytest.raises(ServingError, match=r"not found for request: Specific\(m, 3\)"):
            core.find("m", label="next")
