"""Connection test of a Docker Swarm, by way of one of its managers."""

from workspace.compute.connection_test import StepFailed
from workspace.compute.engine.connection_test import EngineConnectionTest
from workspace.compute.engine.identity import swarm_problem


class SwarmConnectionTest(EngineConnectionTest):
    """Also checks that the engine manages a Swarm, whose nodes must reach this server's address."""

    def engine_type(self) -> str:
        problem = swarm_problem(self._info)
        if problem:
            raise StepFailed(
                problem,
                "Give the address of a manager (docker node ls names them), or use the kind docker"
                " for this engine alone.",
                is_final=True,
            )
        return f"A manager of a Swarm of {self._info['Swarm'].get('Nodes')} nodes."

    def url(self) -> str:
        return self._server.url
