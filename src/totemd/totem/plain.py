"""The plain visit: a token that asks for nothing comes to a node that lacks nothing.

Nearly every visit is one, and each is in the way of all messages of the ring: so it works on the bytes, without records
and without the steps of `token.handle_token` that would find nothing to do. What is left is that function's arithmetic
(protocol/, chapter "Ordering"); whatever may need more is left to it.
"""

from totemd.ids import NodeId
from totemd.limits import SEQUENCE_WINDOW
from totemd.totem.core import Core, State
from totemd.totem.delivery import deliver, note_received_by_all
from totemd.totem.flow import window_packets
from totemd.totem.resting import note_visit, pass_on
from totemd.totem.sending import send_queued
from totemd.totem.sequence import MASK, precedes_or_equals
from totemd.totem.token import RING_SEQ_END, note_idleness, share
from totemd.wire.packets import PLAIN_TOKEN_HEAD, PLAIN_TOKEN_SIZE, pack_plain_token, unpack_plain_token


def visit_plainly(core: Core, data: bytes, sender: NodeId) -> bool:
    """Take the datagram `data` of the member `sender` if it is such a token; False, and nothing is changed, if not."""
    if len(data) != PLAIN_TOKEN_SIZE or data[:4] != PLAIN_TOKEN_HEAD or core.state is not State.OPERATIONAL:
        return False
    claimed, target, seq, token_seq, aru, aru_addr, rep, ring_seq, backlog, fcc, retrans_flg, requests = (
        unpack_plain_token(data)
    )
    ring = core.ring
    window = core.window
    if (
        requests
        or seq != core.aru
        or claimed != sender
        or claimed == core.me
        or rep != ring.rep
        or ring_seq != ring.seq
        or core.unserved
        or core.discard_tokens
        or not core.settled
        or aru > seq
        or seq < core.passed_seq
        or seq > RING_SEQ_END - SEQUENCE_WINDOW
        or seq > window.released + SEQUENCE_WINDOW
        or fcc > window_packets(core.parameters, wide=core.direct.in_ring)
        or precedes_or_equals(token_seq, core.my_token_seq)
    ):
        return False
    upper = core.upper
    core.stats.orf_token_rx += 1
    note_idleness(core, seq)
    if not aru == core.last_aru == core.safe_up_to == window.released:
        note_received_by_all(core, aru)
    if awaited := upper.waits_for_token():
        upper.token_received()
    core.calm_visits = core.calm_visits + 1 if core.seq_unchanged else 0
    previous_last_aru, core.last_aru = core.last_aru, aru
    core.cbl = len(core.current_queue())
    sent = _send(core, seq, backlog, fcc) if core.cbl else 0
    seq += sent
    fcc = (fcc + sent - core.trc) & MASK
    backlog = (backlog + core.cbl - core.pbl) & MASK
    core.trc, core.pbl = sent, core.cbl
    if aru_addr in (core.me, 0) or aru_addr not in core.new_memb:
        aru, aru_addr = seq, 0
    core.aru_count = core.aru_count + 1 if aru == previous_last_aru and aru_addr != 0 else 0
    core.my_token_seq = token_seq
    target = note_visit(core, target)
    token = pack_plain_token(
        core.me, target, seq, (token_seq + 1) & MASK, aru, aru_addr, rep, ring_seq, backlog, fcc, retrans_flg
    )
    pass_on(core, token, seq, aru)
    if core.high_delivered != seq:
        deliver(core)
        awaited = True
    if awaited:
        upper.token_sent()
    return True


def _send(core: Core, seq: int, backlog: int, fcc: int) -> int:
    """Multicast what the queue holds and the token allows; gives how many that were."""
    allowed = share(core, backlog, fcc)
    reserve = allowed + window_packets(core.parameters, wide=core.direct.in_ring)
    if core.window.released + SEQUENCE_WINDOW - reserve < seq:
        # Peers stop (assert) when a token is further ahead of what they have than the window is long.
        return 0
    _, sent = send_queued(core, core.window, seq, allowed, operational=True)
    core.aru = core.window.contiguous_from(core.aru)
    return sent
