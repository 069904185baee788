"""The quorum device: a local program that registers, then polls in time with its vote (votequorum(5)).

The rules for its requests. The device's flags are bits of this node's own flags and travel in NODEINFO.
"""

from collections.abc import Callable
from typing import Final, Protocol

from totemd.config.model import TieBreaker
from totemd.errors import Code, ServiceError
from totemd.ids import NO_RING, NodeId, RingId
from totemd.services.base import Host
from totemd.services.votequorum.electorate import Electorate
from totemd.wire.votequorum import (
    NODE_QDEVICE_ALIVE,
    NODE_QDEVICE_CAST_VOTE,
    NODE_QDEVICE_MASTER_WINS,
    NODE_QDEVICE_REGISTERED,
    QDEVICE_REGISTER,
    QDEVICE_UNREGISTER,
    QdeviceReconfigure,
    QdeviceReg,
    check_device_name,
    encode_qdevice_reconfigure,
    encode_qdevice_reg,
)

TIMER: Final = "votequorum.device"
_ALL_FLAGS: Final = NODE_QDEVICE_REGISTERED | NODE_QDEVICE_ALIVE | NODE_QDEVICE_CAST_VOTE | NODE_QDEVICE_MASTER_WINS

Answer = Callable[[ServiceError | None], None]
"""Called once when a registration has come back in the total order: with None, or with the refusal."""


class Owner(Protocol):
    """What the device needs of the service."""

    @property
    def electorate(self) -> Electorate: ...

    def change_own_flags(self, *, set_: int = 0, clear: int = 0) -> bool:
        """Change this node's flags; True if they differ now."""

    def announce(self, *, device: bool = False) -> None:
        """Multicast this node's NODEINFO (after the device's, if asked), again and again until it is queued."""


class QuorumDevice:
    """Registration, name and pulse of the device."""

    def __init__(self, host: Host, owner: Owner) -> None:
        self._host = host
        self._owner = owner
        self.name = b""
        """Known to all nodes once one has registered it; empty before."""
        self.ring = NO_RING
        """The device must poll for this ring."""
        self.holds_sync = False
        """Synchronization waits for the device's opinion on the new ring."""
        self._pending: tuple[bytes, Answer] | None = None

    @property
    def can_operate(self) -> bool:
        """Whether the configuration allows a device. One that has none of it allows one without votes, as corosync's
        does, unless an option is on with which a device cannot go together."""
        settings = self._owner.electorate.settings
        if settings.device_model is not None:
            return True
        return not (
            settings.two_node
            or settings.last_man_standing
            or settings.allow_downscale
            or settings.tie_breaker is not TieBreaker.NONE
        )

    @property
    def registered(self) -> bool:
        """Whether the device is registered on this node."""
        return bool(self._flags & NODE_QDEVICE_REGISTERED)

    @property
    def _flags(self) -> int:
        return self._owner.electorate.own.flags

    def register(self, name: bytes, answer: Answer) -> None:
        """Ask all nodes to know the device; `answer` follows, at once if it is registered here under that name.

        ACCESS: the configuration does not allow it; EXIST: registered under another name; TRY_AGAIN: a registration is
        on its way; INVALID_PARAM: no valid name; NO_RESOURCES: the send queue is full.
        """
        self._demand_allowed()
        self._check_name(name)
        if self.registered:
            if name != self.name:
                raise ServiceError(Code.EXIST, "a quorum device of another name is registered")
            answer(None)
            return
        if self._pending is not None:
            raise ServiceError(Code.TRY_AGAIN, "a registration is on its way")
        self._multicast(encode_qdevice_reg(QdeviceReg(QDEVICE_REGISTER, name)))
        self._pending = (name, answer)

    def unregister(self, name: bytes) -> None:
        """NOT_EXIST: none is registered; INVALID_PARAM: another name."""
        self._demand_registered()
        self._demand_name(name)
        self._host.cancel_timer(TIMER)
        self.holds_sync = False
        self._owner.change_own_flags(clear=_ALL_FLAGS)
        self._owner.announce()
        self._multicast(encode_qdevice_reg(QdeviceReg(QDEVICE_UNREGISTER, name)))

    def update(self, old_name: bytes, new_name: bytes) -> None:
        """Rename the device on all nodes. Errors as `unregister`."""
        self._demand_registered()
        self._demand_name(old_name)
        self._check_name(new_name)
        self._multicast(encode_qdevice_reconfigure(QdeviceReconfigure(old_name, new_name)))

    def poll(self, name: bytes, cast_vote: bool, ring: RingId) -> None:
        """The device lives, and votes for this node or not.

        ACCESS, NOT_EXIST, INVALID_PARAM as above; MESSAGE_ERROR if it speaks of another ring than the last one.
        """
        self._demand_allowed()
        self._demand_registered()
        if ring != self.ring:
            raise ServiceError(Code.MESSAGE_ERROR, f"the ring is {self.ring}, not {ring}")
        self._demand_name(name)
        self.holds_sync = False
        changed = self._owner.change_own_flags(
            set_=NODE_QDEVICE_ALIVE | (NODE_QDEVICE_CAST_VOTE if cast_vote else 0), clear=NODE_QDEVICE_CAST_VOTE
        )
        if changed:
            self._owner.announce()
        self._host.set_timer(TIMER, self._owner.electorate.settings.device_timeout_s, self._timed_out)

    def master_wins(self, name: bytes, allow: bool) -> None:
        """Whether a component that the device votes for is quorate by that alone. Errors as `poll`."""
        self._demand_allowed()
        self._demand_registered()
        self._demand_name(name)
        flag = NODE_QDEVICE_MASTER_WINS
        self._owner.change_own_flags(set_=flag if allow else 0, clear=flag)
        self._owner.announce()

    def registration_delivered(self, sender: NodeId, request: QdeviceReg) -> None:
        """QDEVICE_REG at its place in the total order."""
        if request.operation == QDEVICE_UNREGISTER:
            if not any(voter.flags & NODE_QDEVICE_REGISTERED for voter in self._owner.electorate.present()):
                self.name = b""
        elif request.operation != QDEVICE_REGISTER:
            self._host.log("warning", f"node {sender} asks for unknown quorum device operation {request.operation}")
        elif sender != self._host.nodeid:
            self.name = self.name or request.name
        else:
            self._own_registration_delivered(request.name)

    def renamed(self, change: QdeviceReconfigure) -> None:
        """QDEVICE_RECONFIGURE at its place in the total order."""
        if self.name and self.name == change.old_name:
            self.name = change.new_name

    def enter_configuration(self, ring: RingId) -> None:
        """A new ring: a living device must say anew whom it votes for, within device_sync_timeout_s."""
        self.ring = ring
        both = NODE_QDEVICE_REGISTERED | NODE_QDEVICE_ALIVE
        self.holds_sync = self._flags & both == both
        if self.holds_sync:
            patience_s = self._owner.electorate.settings.device_sync_timeout_s
            self._host.log("info", f"waiting {patience_s:g} s at most for the quorum device to poll for ring {ring}")
            self._host.set_timer(TIMER, patience_s, self._timed_out)

    def _own_registration_delivered(self, name: bytes) -> None:
        # Every synchronization repeats the registration; nobody waits for that.
        if self.registered or self._pending is None or self._pending[0] != name:
            return
        answer = self._pending[1]
        self._pending = None
        if self.name not in (b"", name):
            answer(ServiceError(Code.EXIST, "a quorum device of another name is registered on another node"))
            return
        self.name = name
        self._owner.change_own_flags(set_=NODE_QDEVICE_REGISTERED)
        self._owner.announce(device=True)
        answer(None)

    def _timed_out(self) -> None:
        self._host.log("warning", "the quorum device did not poll in time; its vote is withdrawn")
        self.holds_sync = False
        if self._owner.change_own_flags(clear=NODE_QDEVICE_ALIVE | NODE_QDEVICE_CAST_VOTE):
            self._owner.announce()

    def _demand_allowed(self) -> None:
        if not self.can_operate:
            raise ServiceError(Code.ACCESS, "the options in section quorum do not allow a quorum device")

    def _demand_registered(self) -> None:
        if not self.registered:
            raise ServiceError(Code.NOT_EXIST, "no quorum device is registered on this node")

    def _demand_name(self, name: bytes) -> None:
        if name != self.name:
            raise ServiceError(Code.INVALID_PARAM, "the registered quorum device has another name")

    @staticmethod
    def _check_name(name: bytes) -> None:
        try:
            check_device_name(name)
        except ValueError as bad:
            raise ServiceError(Code.INVALID_PARAM, str(bad)) from None
        if not name:
            raise ServiceError(Code.INVALID_PARAM, "a quorum device needs a name")

    def _multicast(self, message: bytes) -> None:
        if not self._host.multicast(message):
            raise ServiceError(Code.NO_RESOURCES, "the send queue is full")
