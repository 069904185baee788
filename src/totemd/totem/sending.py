"""From the send queue to the network (protocol/, chapter "Ordering", [ORD-11])."""

from totemd.totem.core import Core
from totemd.totem.recovery import next_to_recover
from totemd.totem.window import Window
from totemd.wire.packets import (
    ENCAPSULATED,
    GUARANTEE_AGREED,
    GUARANTEE_SAFE,
    ORDINARY,
    Mcast,
    encode_mcast,
)


def send_queued(core: Core, window: Window, seq: int, allowed: int, *, operational: bool) -> tuple[int, int]:
    """Give queued packets the next numbers and multicast them; gives the last number and how many were sent."""
    sent = 0
    queue = core.current_queue()
    while sent < allowed:
        if operational:
            if not queue:
                break
            outgoing = queue.popleft()
            payload, safe, goes_on = outgoing
            if goes_on:
                core.started.append(outgoing)
            elif core.started:
                core.started = []
            kind, guarantee = ORDINARY, GUARANTEE_SAFE if safe else GUARANTEE_AGREED
            if safe:
                core.direct.safe_high = seq + 1
        else:
            old = next_to_recover(core)
            if old is None:
                break
            core.recovered.add(old.seq)
            payload, kind, guarantee = old.raw, ENCAPSULATED, GUARANTEE_AGREED
        seq += 1
        data = encode_mcast(core.me, kind, seq, core.this_seqno & 0x7FFFFFFF, core.ring, guarantee, payload)
        message = Mcast(core.me, kind, core.me, seq, core.this_seqno, core.ring, guarantee, data)
        core.this_seqno += 1
        window.add(seq, message)
        core.stats.mcast_tx += 1
        core.broadcast(data, to_self=False)
        sent += 1
    if sent:
        core.direct.senders.add(core.me)
    core.high = max(core.high, seq)
    core.passed_seq = seq if sent else core.passed_seq
    return seq, sent
