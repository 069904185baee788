"""Delivery in the agreed order, SAFE delivery, and release of what everybody has (protocol/, chapter "Ordering")."""

from typing import Final

from totemd.limits import MCAST_HEADER_SIZE
from totemd.totem.core import Core, State
from totemd.wire.packets import GUARANTEE_SAFE

_LEFT: Final = State.LEFT


def deliver(core: Core) -> None:
    """Hand up all that is next in order. A SAFE message, and with it all that follows, waits until two successive
    visits of the token have shown that every member has it."""
    items, packet_delivered = core.window.items, core.upper.packet_delivered
    while True:
        message = items.get(core.high_delivered + 1)
        if message is None:
            return
        if message.guarantee == GUARANTEE_SAFE and core.high_delivered >= core.safe_up_to:
            return
        core.high_delivered += 1
        packet_delivered(message.sender, message.raw[MCAST_HEADER_SIZE:])
        if core.state is _LEFT:
            # That message was the order to stop.
            return


def note_received_by_all(core: Core, token_aru: int) -> None:
    """What two successive visits showed as received by all is safe; what is also delivered here may be forgotten."""
    shown = min(core.last_aru, token_aru)
    core.safe_up_to = max(core.safe_up_to, shown)
    core.window.release(min(shown, core.high_delivered))


def advance_aru(core: Core) -> None:
    """Move aru over what has become contiguous."""
    core.aru = core.window.contiguous_from(core.aru)
