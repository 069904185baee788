"""All connections of corosync's libraries to one node: who is let in, and what all are told about the ring."""

from errno import EACCES, EAGAIN
from typing import Protocol

from totemd.ipc.ports import Credentials
from totemd.ipc.services import Services
from totemd.qb.api import QbService
from totemd.qb.services import QB_SERVICES
from totemd.qb.session import Link, QbSession
from totemd.qb.statistics import ConnectionsSource


class NodeState(Protocol):
    """What the sessions must know of the node."""

    synchronizing: bool
    served: bool
    """True once a synchronization has completed, until the node stops."""

    @property
    def queue_critical(self) -> bool:
        """Whether the send queue is nearly full."""

    @property
    def queue_ready(self) -> bool:
        """Neither of both: multicasts are accepted."""


class QbSessions:
    """One per node."""

    def __init__(self, services: Services, node: NodeState) -> None:
        self._services = services
        self._node = node
        self._told = (True, False)
        self.sessions: dict[QbSession, None] = {}
        self._statistics = ConnectionsSource(services.cmap.statistics)
        self.with_work: dict[QbSession, None] = {}
        """Sessions that wait for room, or are to be closed."""

    @property
    def offered(self) -> tuple[QbService, ...]:
        """The services that this node has."""
        without = () if self._services.votequorum is not None else ("votequorum",)
        return tuple(service for service in QB_SERVICES.values() if service.name not in without)

    def refusal(self, credentials: Credentials) -> int:
        """The errno(3) that a client is refused with, or 0."""
        if not self._node.served:
            return EAGAIN
        return EACCES if self._services.access.refusal(credentials) is not None else 0

    def open(self, service: QbService, credentials: Credentials, link: Link, *, process_name: str = "") -> QbSession:
        """A client was let in; its program's name is for the statistics.

        Who comes while the ring synchronizes need not wait for its end, as in corosync: that may take as long as a
        quorum device takes, and meanwhile an operator wants to look at the node. What needs the ring gets TRY_AGAIN.
        """
        session = QbSession(service, self._services, credentials, link, self._node, self.with_work)
        session.set_flow(synchronizing=False, critical=self._told[1])
        self.sessions[session] = None
        self._statistics.opened(session, process_name)
        return session

    def close(self, session: QbSession) -> None:
        """A connection is gone."""
        if self.sessions.pop(session, self) is not self:
            session.closed()
            self._statistics.closing(session)

    def tell_flow(self) -> bool:
        """After each input of the node: whether all may send. True if anything has changed."""
        state = (self._node.synchronizing, self._node.queue_critical)
        if state == self._told:
            return False
        self._told = state
        for session in self.sessions:
            session.set_flow(synchronizing=state[0], critical=state[1])
        return True
