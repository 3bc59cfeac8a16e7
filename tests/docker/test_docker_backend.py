"""The docker target on a real engine, with a stand-in for the web."""

import pytest

from tests.docker.stage import Yard, python
from tests.runner.web import until
from workspace.compute.base import SightingState

pytestmark = pytest.mark.docker


def test_a_program_runs_in_a_container_and_all_that_it_says_arrives(yard: Yard) -> None:
    group, told = yard.one("open('outputs/kept', 'w').write('k'); print('hello')")
    group.until_collected()
    assert told.log == b"hello\n"
    assert told.outputs == {"kept": b"k"} or told.outputs == {"outputs/kept": b"k"}
    assert told.ending is not None
    assert told.ending["exit_code"] == 0
    until(lambda: group.states() == [SightingState.EXITED], "the end of the container")
