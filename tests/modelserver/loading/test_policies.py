"""Which versions are served, and in what order one takes over from another."""

import asyncio
import logging
import shutil
from pathlib import Path

import pytest

from deploy.modelserver.errors import Code, ServingError
from deploy.modelserver.loading.model_config import VersionPolicy
from deploy.modelserver.loading.server_core import all_loaded

from ..cores import ModelDirectories, available, states, until


@pytest.fixture
def shelf(tmp_path: Path) -> ModelDirectories:
    return ModelDirectories(tmp_path)


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (VersionPolicy(), [10]),
        (VersionPolicy(latest=2), [9, 10]),
        (VersionPolicy(latest=0), [10]),
        (VersionPolicy(every=True), [1, 9, 10]),
        (VersionPolicy(specific=frozenset({1, 9})), [1, 9]),
        (VersionPolicy(specific=frozenset({9, 77})), [9]),
    ],
    ids=["default", "latest 2", "latest 0", "all", "specific", "specific with one that is missing"],
)
async def test_a_policy_says_which_versions_are_served(
    shelf: ModelDirectories, policy: VersionPolicy, served: list[int]
) -> None:
    shelf.put("m", 1, 9, 10)
    async with shelf.core() as core:
        core.set_models([shelf.config("m", policy)])

        await until(lambda: available(core, "m") == served, f"versions {served}")

        assert core.find("m").number == served[-1]
        assert set(states(core, "m")) == set(served)
        assert shelf.loaded == [f"m/{number}" for number in reversed(served)]


async def test_a_specific_version_that_is_missing_is_named_in_the_log(
    shelf: ModelDirectories, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.put("m", 1)
    async with shelf.core() as core:
        core.set_models([shelf.config("m", VersionPolicy(specific=frozenset({1, 7})))])
        await until(lambda: available(core, "m") == [1], "version 1")

    assert "Version 7 of servable m, which was requested to be served as a 'specific'" in (
        caplog.text
    )


async def test_the_old_version_answers_until_the_new_one_is_there(shelf: ModelDirectories) -> None:
    shelf.put("m", 1)
    async with shelf.core() as core:
        await all_loaded(core.set_models([shelf.config("m")]))
        shelf.gate.clear()
        shelf.put("m", 2)
        await until(lambda: states(core, "m") == {2: "LOADING", 1: "AVAILABLE"}, "version 2")
        assert core.find("m").number == 1

        shelf.gate.set()

        await until(lambda: states(core, "m") == {2: "AVAILABLE", 1: "END"}, "the change")
        assert core.find("m").number == 2


async def test_a_new_version_that_fails_leaves_the_old_one_and_says_why(
    shelf: ModelDirectories,
) -> None:
    shelf.put("m", 1)
    async with shelf.core() as core:
        await all_loaded(core.set_models([shelf.config("m")]))

        shelf.put("m", 2, broken=True)

        await until(lambda: states(core, "m") == {2: "END", 1: "AVAILABLE"}, "version 2 to fail")
        error = core.statuses("m", 2)[0].error
        assert error is not None
        assert (error.code, error.message) == (Code.DATA_LOSS, "2 is broken")


async def test_removing_the_newest_brings_the_next_back_without_a_gap(
    shelf: ModelDirectories,
) -> None:
    shelf.put("m", 1, 2)
    async with shelf.core() as core:
        await all_loaded(core.set_models([shelf.config("m")]))
        shelf.gate.clear()

        shutil.rmtree(shelf.folder / "m" / "2")
        await until(lambda: states(core, "m").get(1) == "LOADING", "version 1 to be loaded")
        assert core.find("m").number == 2
        shelf.gate.set()

        await until(lambda: states(core, "m") == {2: "END", 1: "AVAILABLE"}, "version 1")


async def test_a_version_in_use_stays_in_memory_until_it_is_released(
    shelf: ModelDirectories,
) -> None:
    shelf.put("m", 1)
    async with shelf.core() as core:
        await all_loaded(core.set_models([shelf.config("m")]))
        version = core.find("m")
        toy = version.hold()

        core.set_models([])
        await until(lambda: states(core, "m") == {1: "UNLOADING"}, "the unload to begin")
        assert not toy.is_closed  # type: ignore[attr-defined]
        version.release()

        await until(lambda: states(core, "m") == {1: "END"}, "the unload to end")
        assert toy.is_closed  # type: ignore[attr-defined]


async def test_a_model_that_leaves_the_configuration_may_come_back(shelf: ModelDirectories) -> None:
    shelf.put("m", 1)
    shelf.put("n", 1)
    async with shelf.core() as core:
        await all_loaded(core.set_models([shelf.config("m"), shelf.config("n")]))

        assert core.set_models([shelf.config("n")]) == []
        with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
            core.find("m")
        await until(lambda: states(core, "m") == {1: "END"}, "m to be gone")
        assert core.find("n").number == 1
        assert core.waiting() == []

        await all_loaded(core.set_models([shelf.config("m"), shelf.config("n")]))
        assert core.find("m").number == 1


async def test_the_same_configuration_again_changes_nothing(shelf: ModelDirectories) -> None:
    shelf.put("m", 1)
    async with shelf.core() as core:
        await all_loaded(core.set_models([shelf.config("m")]))
        version = core.find("m")

        assert core.set_models([shelf.config("m")]) == []

        assert core.find("m") is version
        assert shelf.loaded == ["m/1"]


async def test_what_does_not_load_is_named_and_the_rest_is_served(shelf: ModelDirectories) -> None:
    shelf.put("good", 1)
    shelf.put("bad", 3, broken=True)
    async with shelf.core() as core:
        with pytest.raises(ServingError) as refused:
            await all_loaded(core.set_models([shelf.config("good"), shelf.config("bad")]))

        assert refused.value.code is Code.UNKNOWN
        assert refused.value.message == (
            "1 servable(s) did not become available: "
            "{{{name: bad version: 3} due to error: DATA_LOSS: 3 is broken}, }"
        )
        assert core.find("good").number == 1


async def test_a_model_that_never_came_stops_being_waited_for_once_it_is_removed(
    shelf: ModelDirectories,
) -> None:
    async with shelf.core() as core:
        added = core.set_models([shelf.config("nowhere")])
        assert core.waiting() == ["nowhere"]

        core.set_models([])

        await all_loaded(added)
        assert core.waiting() == []


async def test_unknown_models_and_versions_are_not_found(shelf: ModelDirectories) -> None:
    shelf.put("m", 1)
    async with shelf.core() as core:
        await all_loaded(core.set_models([shelf.config("m")]))

        with pytest.raises(ServingError, match=r"^Servable not found for request: Latest\(x\)$"):
            core.find("x")
        with pytest.raises(ServingError, match=r"^Servable not found.*: Specific\(m, 5\)$"):
            core.find("m", 5)
        with pytest.raises(ServingError, match=r"^Could not find any versions of model x$"):
            core.statuses("x")
        with pytest.raises(ServingError, match=r"^Could not find version 5 of model m$"):
            core.statuses("m", 5)


async def test_with_a_poll_of_zero_the_directory_is_looked_at_once_for_each_configuration(
    shelf: ModelDirectories,
) -> None:
    shelf.put("m", 1)
    shelf.put("n", 1)
    async with shelf.core(every=0) as core:
        await all_loaded(core.set_models([shelf.config("m")]))
        shelf.put("m", 2)
        await all_loaded(core.set_models([shelf.config("m"), shelf.config("n")]))

        await until(lambda: available(core, "m") == [2], "version 2")
        shelf.put("m", 3)
        shelf.put("n", 2)
        await all_loaded(core.set_models([shelf.config("n")]))
        await until(lambda: available(core, "n") == [2], "version 2 of n")

    assert sorted(shelf.begun) == ["m/1", "m/2", "n/1", "n/2"]


async def test_with_a_poll_below_zero_no_directory_is_ever_looked_at(
    shelf: ModelDirectories,
) -> None:
    shelf.put("m", 1)
    async with shelf.core(every=-1) as core:
        core.set_models([shelf.config("m")])

        await core.watch()

        assert core.waiting() == ["m"]


async def test_a_load_that_fails_is_tried_again_while_it_is_wanted(shelf: ModelDirectories) -> None:
    shelf.put("m", 1, broken=True)
    async with shelf.core(retries=5, retry_every=0.01) as core:
        with pytest.raises(ServingError, match="1 is broken"):
            await all_loaded(core.set_models([shelf.config("m")]))
        assert shelf.begun == ["m/1"] * 6
    async with shelf.core(retries=5, retry_every=60) as core:
        added = core.set_models([shelf.config("m")])
        await until(lambda: len(shelf.begun) == 7, "the first try")
        assert states(core, "m") == {1: "LOADING"}

        core.set_models([])

        await until(lambda: states(core, "m") == {1: "END"}, "the model to be given up")
        await all_loaded(added)


async def test_a_model_that_is_given_up_the_moment_its_load_failed_does_not_wait_for_the_next_try(
    shelf: ModelDirectories,
) -> None:
    shelf.put("m", 1, broken=True)

    class GivesUp(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "could not be loaded" in record.getMessage():
                asyncio.get_running_loop().call_soon(core.set_models, [])

    gives_up = GivesUp()
    async with shelf.core(retries=5, retry_every=3600) as core:
        logging.getLogger("modelserver").addHandler(gives_up)
        try:
            core.set_models([shelf.config("m")])
            await until(lambda: shelf.begun, "the first try")
            await until(lambda: states(core, "m") == {1: "END"}, "the model to be given up")
        finally:
            logging.getLogger("modelserver").removeHandler(gives_up)


async def test_as_many_versions_load_at_a_time_as_there_are_threads(
    shelf: ModelDirectories,
) -> None:
    shelf.put("m", 1, 2, 3)
    async with shelf.core(threads=2) as core:
        shelf.gate.clear()
        core.set_models([shelf.config("m", VersionPolicy(every=True))])

        await until(lambda: len(shelf.begun) == 2, "two loads at once")
        assert states(core, "m") == dict.fromkeys((3, 2, 1), "LOADING")
        assert shelf.begun == ["m/3", "m/2"]
        shelf.gate.set()

        await until(lambda: available(core, "m") == [1, 2, 3], "all versions")


async def test_names_that_are_no_versions_are_left_out_and_twins_are_named_once(
    shelf: ModelDirectories, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.put("m", 2)
    for name in ("002", "x", "3x", "-4", "99999999999999999999"):
        (shelf.folder / "m" / name).mkdir()
    (shelf.folder / "m" / "9").touch()
    async with shelf.core() as core:
        core.set_models([shelf.config("m", VersionPolicy(every=True))])
        await until(lambda: "is there twice" in caplog.text, "the warning")
        await until(lambda: core.models["m"].versions, "a look")

        assert list(states(core, "m")) == [2]
        shelf.put("n", 1)
        await all_loaded(
            core.set_models([shelf.config("m", VersionPolicy(every=True)), shelf.config("n")])
        )

    assert caplog.text.count("is there twice") == 1
