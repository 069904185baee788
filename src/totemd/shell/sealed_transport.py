"""The transport of a sealed ring: what is read is opened at once, what is sent is sealed last of all.

So datagrams leave in the order of their counters, and nothing but the seal itself ever sees what does not open.
"""

import select
from collections.abc import Callable
from typing import Final, Protocol

from totemd.config.model import Configuration
from totemd.ids import NodeId
from totemd.node.arrival import Datagram
from totemd.shell.transport import BATCH_MAX, Transport


class Sealing(Protocol):
    """What the transport needs of `node.sealing`."""

    @property
    def seal_datagram(self) -> Callable[[bytes, NodeId | None], bytes]: ...
    def open(self, data: bytes, source: str, now: float, /) -> Datagram | None: ...


TOKENS_MAX: Final = BATCH_MAX
"""Of a stranger, that are read in search of one that opens, before anybody else gets his turn."""


class SealedTransport(Transport):
    """Sends and receives sealed datagrams for one node, once it is connected to the node's seal."""

    def __init__(
        self,
        configuration: Configuration,
        cannot_send: Callable[[str, str], None],
        epoll: select.epoll,
        clock: Callable[[], float],
    ) -> None:
        """As `Transport`; `clock` is the one of the node's inputs."""
        super().__init__(configuration, cannot_send, epoll)
        self._clock = clock

    def connect(self, sealing: Sealing) -> None:
        """Open and seal by this, before anything is read or sent."""
        self._open = sealing.open
        self._seal = sealing.seal_datagram

    def receive_token(self) -> Datagram | None:
        """What waits on the socket for tokens alone, if there is one that opens."""
        for _ in range(TOKENS_MAX):
            datagram = super().receive_token()
            if datagram is None:
                return None
            opened = self._open(datagram[0], datagram[1], self._clock())
            if opened is not None:
                return opened
        return None

    def _drain(self, into: list[Datagram], limit: int) -> bool:
        sealed: list[Datagram] = []
        exhausted = super()._drain(sealed, limit - len(into))
        now = self._clock()
        for data, source in sealed:
            opened = self._open(data, source, now)
            if opened is not None:
                into.append(opened)
        return exhausted

    def broadcast(self, data: bytes, *, more: bool = False) -> None:
        """As `Transport`, sealed."""
        super().broadcast(self._seal(data, None), more=more)

    def unicast(self, nodeid: NodeId, data: bytes) -> None:
        """As `Transport`, sealed."""
        super().unicast(nodeid, self._seal(data, nodeid))
