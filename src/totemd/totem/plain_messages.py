"""Plain messages: new ones, next in order, on an operational ring.

Nearly every message is one, and they come in runs: so their header is read from the bytes, and what is alike for all of
a run (delivery above all) is done once. What is left is the arithmetic of `Ring.receive` (protocol/, chapter
"Ordering"); whatever may need more is left to it.
"""

from collections.abc import Callable, Sequence

from totemd.ids import NodeId
from totemd.limits import MCAST_HEADER_SIZE, SEQUENCE_WINDOW
from totemd.totem.core import Core, State
from totemd.totem.delivery import deliver
from totemd.totem.direct import note_message
from totemd.wire.packets import GUARANTEE_AGREED, ORDINARY, PLAIN_MCAST_HEAD, Mcast, unpack_plain_mcast


def take_in_order(
    core: Core, datagrams: Sequence[tuple[bytes, str]], begin: int, node_at: Callable[[str], NodeId | None]
) -> int:
    """Take as many of `datagrams` from `begin` on as are such messages of members, each from its sender's own address
    (`node_at`); gives how many. The first that is left has changed nothing."""
    if core.state is not State.OPERATIONAL:
        return 0
    ring, window, direct, memb = core.ring, core.window, core.direct, core.memb
    rep, ring_seq = ring.rep, ring.seq
    at_home = rep == core.me
    items = window.items
    seq = core.aru
    end = min(len(datagrams), begin + window.released + SEQUENCE_WINDOW - 1 - seq)
    if core.high != seq:
        return 0
    at = begin
    while at < end:
        data, source = datagrams[at]
        if data[:5] != PLAIN_MCAST_HEAD or len(data) < MCAST_HEADER_SIZE:
            break
        sender, originator, number, this_seqno, its_rep, its_ring_seq, guarantee = unpack_plain_mcast(data)
        if (
            number != seq + 1
            or its_ring_seq != ring_seq
            or its_rep != rep
            or guarantee != GUARANTEE_AGREED
            or sender != originator
            or sender == core.me
            or sender not in memb
            or node_at(source) != sender
        ):
            break
        seq = number
        items[seq] = Mcast(sender, ORDINARY, sender, seq, this_seqno, ring, guarantee, data)
        if at_home:
            direct.senders.add(sender)
        if direct.loan_out or direct.holding:
            note_message(core, sender, seq)
        else:
            direct.holder = sender
        at += 1
    taken = at - begin
    if taken:
        core.stats.mcast_rx += taken
        core.aru = core.high = seq
        deliver(core)
    return taken
