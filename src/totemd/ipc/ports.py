"""What a session of the native socket needs from the node, and who is at its other end.

The node implements `NodePort`; sessions call it synchronously while the node handles their input. Everything it returns
is plain data (dict, list, str, int, float, bool, bytes, None) in the shapes of protocol/, chapter "Native socket".
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from totemd.ids import NodeId, RingId
from totemd.record import record
from totemd.services.base import Listener
from totemd.totem.api import ConfigurationChanged


@record
class Credentials:
    """The process at the other end of a connection, as the kernel tells it (SO_PEERCRED, unix(7))."""

    pid: int
    uid: int
    gid: int


@record
class Synchronized:
    """Event: the services of all members of `ring` agree; requests that got try_again may be retried."""

    ring: RingId


class SharedBuffer(Protocol):
    """A file in memory that a client has made, and still can change and truncate."""

    def read(self, offset: int, size_bytes: int) -> bytes:
        """What is there now; shorter, if the file is. Never more than the size it was opened with."""

    def write(self, offset: int, data: bytes) -> None:
        """Change the file. ServiceError NO_RESOURCES: there is no memory."""

    def close(self) -> None:
        """Give it up; calling it again is fine."""


class SharedBuffers(Protocol):
    """Where clients leave such files."""

    def open(self, path: bytes, size_bytes: int, owner: Credentials) -> SharedBuffer:
        """Open a client's file of at least `size_bytes`, and remove its name.

        ServiceError: INVALID_PARAM (no such file, not there, too short); ACCESS (not a file of the owner's);
        NO_RESOURCES (too many are open).
        """


class NodePort(Protocol):
    """What the node itself answers."""

    @property
    def nodeid(self) -> NodeId: ...

    @property
    def cluster_name(self) -> str: ...

    @property
    def version(self) -> str:
        """totemd's version."""

    @property
    def incarnation(self) -> str:
        """A random hexadecimal word, drawn once per start of the daemon: a client sees a restart by it."""

    @property
    def now(self) -> float:
        """Time of the input being handled: seconds of a clock that never goes back."""

    def log(self, level: str, subsystem: str, text: str) -> None:
        """Write a log line; of lines that are the same, most are only counted."""

    def status(self) -> Mapping[str, object]:
        """The reply to `status`."""

    def nodes(self) -> Sequence[Mapping[str, object]]:
        """Every node of the nodelist and every node ever seen, ascending by node id."""

    def stats(self) -> Mapping[str, object]:
        """The reply to `stats`."""

    def current_membership(self) -> ConfigurationChanged | None:
        """The last regular configuration; None before the first."""

    def subscribe_membership(self, listener: Listener) -> None:
        """From now on push every `ConfigurationChanged` and `Synchronized` to `listener`."""

    def unsubscribe_membership(self, listener: Listener) -> None:
        """Push nothing more to `listener`; no error if it is unknown."""
