"""How requests travel to an engine over TCP: by the checked way out, and to nowhere else."""

import socket
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from workspace.compute.outbound import OutboundPolicy


class OutboundAdapter(HTTPAdapter):
    """Opens each connection of a session by a policy, which checks the address that it goes to."""

    def __init__(self, policy: OutboundPolicy, connections: int) -> None:
        self._policy = policy
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        policy = self._policy

        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(self, policy)

        class TlsConnection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(self, policy)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = TlsConnection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}


def _connect(connection: HTTPConnection, policy: OutboundPolicy) -> socket.socket:
    timeout = connection.timeout if isinstance(connection.timeout, (int, float)) else None
    try:
        opened = policy.connect(connection.host, connection.port or 0, timeout)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "timed out") from error
    except OSError as error:
        raise NewConnectionError(connection, str(error)) from error
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened
