"""The quorum service: who is in the synchronized configuration, and whether it is quorate (service 3).

It sends no messages. A provider (votequorum) tells it the verdict; without one every configuration is quorate.
After a change of membership listeners get, in this order: `MembershipChanged`, votequorum's nodelist,
`QuorumNotification`, votequorum's verdict (protocol/, chapter "Services").
"""

from typing import Final

from totemd.errors import BadPacket, Code, ServiceError
from totemd.ids import NO_RING, NodeId, RingId
from totemd.record import record
from totemd.services.base import Host, Listener, ServiceId
from totemd.totem.api import ConfigurationChanged

TYPE_FREE: Final = 0
"""No provider: always quorate."""
TYPE_SET: Final = 1
"""A provider decides."""

MODEL_NOTIFICATION: Final = 0
"""A listener of this model gets `QuorumNotification` only."""
MODEL_MEMBERSHIP: Final = 1
"""A listener of this model gets `MembershipChanged` too."""


@record
class QuorumView:
    """The provider's verdict on a configuration; members ascending."""

    quorate: bool
    ring: RingId
    members: tuple[NodeId, ...]


@record
class MembershipChanged:
    """Event: the configuration that all members have synchronized; all lists ascending.

    A node that left and came back within one change is in both `joined` and `left`.
    """

    ring: RingId
    members: tuple[NodeId, ...]
    joined: tuple[NodeId, ...]
    left: tuple[NodeId, ...]


@record
class QuorumNotification:
    """Event: the provider's verdict, also when it confirms the last one."""

    quorate: bool
    ring: RingId
    members: tuple[NodeId, ...]


class Quorum:
    """Service 3. Pass `provider_changed` to the provider as its callback."""

    def __init__(self, host: Host, *, has_provider: bool) -> None:
        self._host = host
        self._has_provider = has_provider
        self._quorate = not has_provider
        self._view = QuorumView(self._quorate, NO_RING, ())
        self._membership = MembershipChanged(NO_RING, (), (), ())
        self._next = self._membership
        self._listeners: list[tuple[Listener, int]] = []

    @property
    def service_id(self) -> int:
        return ServiceId.QUORUM

    @property
    def membership(self) -> MembershipChanged:
        """The configuration activated last, with nobody joined or left; NO_RING before the first."""
        return MembershipChanged(self._membership.ring, self._membership.members, (), ())

    @property
    def view(self) -> QuorumView:
        """The provider's last verdict; NO_RING and no members before the first, and always without a provider."""
        return self._view

    def get_quorate(self) -> bool:
        """Whether this node's component is quorate."""
        return self._quorate

    def get_type(self) -> int:
        """TYPE_FREE or TYPE_SET."""
        return TYPE_SET if self._has_provider else TYPE_FREE

    def track_start(self, listener: Listener, model: int, *, current: bool, changes: bool) -> None:
        """Push the present state (`current`) and register for changes (`changes`).

        EXIST if the listener is registered already, whatever it wants now (the present state has been pushed all the
        same); INVALID_PARAM for an unknown model.
        """
        if model not in (MODEL_NOTIFICATION, MODEL_MEMBERSHIP):
            raise ServiceError(Code.INVALID_PARAM, f"quorum tracking has models 0 and 1, not {model}")
        if current:
            if model == MODEL_MEMBERSHIP:
                listener.push(self.membership)
            listener.push(self._notification())
        if any(known is listener for known, _ in self._listeners):
            raise ServiceError(Code.EXIST, "quorum is tracked already")
        if changes:
            self._listeners.append((listener, model))

    def track_stop(self, listener: Listener) -> None:
        """Forget the listener; no error if it is not registered."""
        self._listeners = [known for known in self._listeners if known[0] is not listener]

    def provider_changed(self, view: QuorumView) -> None:
        """The provider's verdict: at each of its activations, and when it changes between them."""
        if view.quorate != self._quorate:
            self._host.log(
                "notice",
                "this node is within the primary component and provides service"
                if view.quorate
                else "this node is within the non-primary component and does not provide service",
            )
        self._quorate = view.quorate
        self._view = view
        event = self._notification()
        for listener, _ in list(self._listeners):
            listener.push(event)

    def receive(self, function: int, sender: NodeId, message: bytes) -> None:
        raise BadPacket("quorum has no messages", f"function {function} from node {sender}")

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """Nothing: only synchronized configurations count."""

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        before, now = set(self._membership.members), set(members)
        left = before - (now & set(transitional))
        joined = now - (before - left)
        self._next = MembershipChanged(ring, tuple(sorted(now)), tuple(sorted(joined)), tuple(sorted(left)))

    def sync_process(self) -> bool:
        return True

    def sync_activate(self) -> None:
        self._membership = self._next
        for listener, model in list(self._listeners):
            if model == MODEL_MEMBERSHIP:
                listener.push(self._next)

    def sync_abort(self) -> None:
        """Nothing to undo: the next round compares with the configuration activated last."""

    def _notification(self) -> QuorumNotification:
        return QuorumNotification(self._quorate, self._view.ring, self._view.members)
