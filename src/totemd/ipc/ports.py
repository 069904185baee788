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
