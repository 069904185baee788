"""The processes of this node: which client's listener stands for which (group, pid), and how far its joining is.

    UNJOINED -> JOIN_STARTED -> JOIN_COMPLETED -> LEAVE_STARTED -> UNJOINED
             join()      own join delivered  leave()    own leave delivered

A client that is gone has no listener any more, but its process stays here until its leave has been delivered.
"""

from enum import Enum

from totemd.services.base import Listener
from totemd.services.cpg.run import TakeRun
from totemd.wire.cpg import CpgReason


class EndpointState(Enum):
    """How far a local process's joining of its group is."""

    UNJOINED = "unjoined"
    JOIN_STARTED = "join started"
    JOIN_COMPLETED = "join completed"
    LEAVE_STARTED = "leave started"


class LocalProcess:
    """One (group, pid) of this node."""

    __slots__ = (
        "endpoint",
        "group",
        "head",
        "head_size",
        "initial_configuration",
        "interrupted",
        "joined",
        "pid",
        "push_run",
        "state",
        "unsent_leave",
    )

    def __init__(self, endpoint: Listener, group: bytes, pid: int, initial_configuration: bool) -> None:
        self.endpoint: Listener | None = endpoint
        """None once the client is gone."""
        self.push_run: TakeRun | None = getattr(endpoint, "push_run", None)
        """How the client is given many messages at once, if it takes them so."""
        self.group = group
        self.pid = pid
        self.state = EndpointState.JOIN_STARTED
        self.joined = False
        """Whether the own join has been delivered."""
        self.initial_configuration = initial_configuration
        self.interrupted = False
        """Whether the group's membership has changed since the first fragment of a partial message."""
        self.unsent_leave: CpgReason | None = None
        """The reason of a leave that could not be queued yet."""
        self.head = b""
        """What precedes a message with data of `head_size` bytes."""
        self.head_size = -1

    @property
    def key(self) -> tuple[bytes, int]:
        return self.group, self.pid


class LocalProcesses:
    """All local processes, by listener (by identity), by (group, pid), and those that hear a group."""

    def __init__(self) -> None:
        self.by_endpoint: dict[int, LocalProcess] = {}
        """By the listener's identity, and the hearers by group: to be read only; for the way of every message."""
        self._by_key: dict[tuple[bytes, int], LocalProcess] = {}
        self.hearing: dict[bytes, tuple[LocalProcess, ...]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, endpoint: Listener) -> LocalProcess | None:
        """The process that the listener stands for; None if it is unjoined."""
        return self.by_endpoint.get(id(endpoint))

    def find(self, group: bytes, pid: int) -> LocalProcess | None:
        """The process, also when its client is gone."""
        return self._by_key.get((group, pid))

    def hearers(self, group: bytes) -> tuple[LocalProcess, ...]:
        """Those whose own join has been delivered and whose client is there."""
        return self.hearing.get(group, ())

    def listeners(self) -> list[Listener]:
        """Everybody who has begun to join and is still there, in the order of joining."""
        return [process.endpoint for process in self._by_key.values() if process.endpoint is not None]

    def joined(self) -> list[LocalProcess]:
        """Those whose own join has been delivered, in the order of joining."""
        return [process for process in self._by_key.values() if process.joined]

    def add(self, process: LocalProcess) -> None:
        """A process begins to join."""
        assert process.endpoint is not None
        self.by_endpoint[id(process.endpoint)] = process
        self._by_key[process.key] = process

    def complete_join(self, process: LocalProcess) -> None:
        """The own join has been delivered; a client that left meanwhile stays on its way out."""
        process.joined = True
        if process.state is EndpointState.JOIN_STARTED:
            process.state = EndpointState.JOIN_COMPLETED
        if process.endpoint is not None:
            self.hearing[process.group] = (*self.hearers(process.group), process)

    def detach(self, endpoint: Listener) -> LocalProcess | None:
        """The client is gone: it hears nothing more. Its process, if it stood for one."""
        process = self.by_endpoint.pop(id(endpoint), None)
        if process is not None:
            process.endpoint = None
            self._silence(process)
        return process

    def retire(self, process: LocalProcess) -> None:
        """The process is out of its group; its listener may join again."""
        self._silence(process)
        del self._by_key[process.key]
        process.state = EndpointState.UNJOINED
        if process.endpoint is not None:
            del self.by_endpoint[id(process.endpoint)]

    def _silence(self, process: LocalProcess) -> None:
        rest = tuple(other for other in self.hearers(process.group) if other is not process)
        if rest:
            self.hearing[process.group] = rest
        else:
            self.hearing.pop(process.group, None)
