"""The ordering token's visit, in OPERATIONAL and RECOVERY (protocol/, chapter "Ordering").

The order of the steps is normative: peers compute from the token what we did with it.
"""

from math import inf

from totemd.ids import RingId
from totemd.limits import RETRANSMIT_ENTRIES_MAX, SEQUENCE_WINDOW
from totemd.totem import delivery
from totemd.totem.core import Core, State
from totemd.totem.flow import allowance, visit_packets, window_packets
from totemd.totem.gather import enter_gather, restore_old_ring, settle
from totemd.totem.install import install_ring
from totemd.totem.recovery import count_rotations
from totemd.totem.resting import note_visit, pass_on, show_aru
from totemd.totem.sending import send_queued
from totemd.totem.sequence import MASK, precedes, precedes_or_equals
from totemd.totem.window import Window
from totemd.wire.packets import OrfToken, encode_orf_token

RING_SEQ_END = 0x70000000
"""A ring is renewed when its message numbers get here, long before their comparison could wrap."""

CALM_VISITS = 3
"""After so many visits without a message or a request every node's count of mcasts is 0."""


def handle_token(core: Core, token: OrfToken) -> None:
    """Take the token: serve and ask for retransmissions, send, account, deliver, pass it on."""
    core.stats.orf_token_rx += 1
    if core.discard_tokens or token.ring != core.ring or core.state not in (State.OPERATIONAL, State.RECOVERY):
        return
    if precedes_or_equals(token.token_seq, core.my_token_seq):
        core.stats.duplicate_tokens += 1
        return
    operational = core.state is State.OPERATIONAL
    window = core.window if operational else core.recovery_window
    if not core.passed_seq <= token.seq <= window.released + 2 * SEQUENCE_WINDOW:
        # Every sender keeps the token within one window of what it knows to be everywhere, and nobody sets it back.
        core.stats.implausible_tokens += 1
        return
    note_idleness(core, token.seq)
    if not operational and core.now - core.progress_at > 2 * core.parameters.token_timeout_s:
        restore_old_ring(core)
        enter_gather(core, "the recovery makes no progress")
        return
    if operational:
        delivery.note_received_by_all(core, token.aru)
    core.upper.token_received()
    previous_last_aru = core.last_aru
    core.last_aru = token.aru
    allowed = _allowance(core, token, operational)
    rtr_list, served = _serve_retransmits(core, window, token, allowed)
    if _request_is_in_vain(core, window, rtr_list):
        if not operational:
            restore_old_ring(core)
        enter_gather(core, "messages that the token counts are nowhere")
        return
    _request_retransmits(core, window, rtr_list, token.seq)
    if core.parameters.cancel_token_hold_on_retransmit and (rtr_list or served):
        core.held = False
    allowed -= served
    reserve = allowed + window_packets(core.parameters, wide=core.direct.in_ring)
    if precedes(window.released + SEQUENCE_WINDOW - reserve, token.seq):
        # Peers stop (assert) when a token is further ahead of what they have than the window is long.
        allowed = 0
    seq, sent = send_queued(core, window, token.seq, allowed, operational=operational)
    core.aru = window.contiguous_from(core.aru)

    fcc = (_mcasts_of_last_rotation(core, token) + served + sent - core.trc) & MASK
    backlog = (token.backlog + core.cbl - core.pbl) & MASK
    core.trc = served + sent
    core.pbl = core.cbl
    aru, aru_addr = show_aru(core, token.aru, token.aru_addr, seq)
    core.aru_count = core.aru_count + 1 if aru == previous_last_aru and aru_addr != 0 else 0
    if core.aru_count > core.parameters.fail_recv_const_rotations and aru_addr == core.me:
        _fail_to_receive(core)
        return
    core.my_token_seq = token.token_seq

    target = note_visit(core, token.target)
    retrans_flg, install = token.retrans_flg, False
    if not operational:
        retrans_flg, install = count_rotations(core, retrans_flg, seq, aru)
        if install:
            install_ring(core)
            if core.has_left:
                return
    forwarded = OrfToken(
        core.me, target, seq, (token.token_seq + 1) & MASK, aru, aru_addr, token.ring, backlog, fcc,
        retrans_flg, tuple(rtr_list),
    )  # fmt: skip
    pass_on(core, encode_orf_token(forwarded), seq, aru, asks_nothing=not rtr_list)
    if core.state is State.OPERATIONAL:
        delivery.deliver(core)
        if seq > RING_SEQ_END:
            enter_gather(core, "the ring's message numbers are nearly used up")
            return
    core.upper.token_sent()
    if operational and not core.settled and core.state is State.OPERATIONAL:
        settle(core)


def note_idleness(core: Core, seq: int) -> None:
    """Count rotations without a new message; a long idle ring's token is parked at the representative."""
    if seq == core.last_seq:
        if core.merge_deadline == inf:
            core.merge_deadline = core.now + core.parameters.merge_timeout_s
        core.seq_unchanged += 1
    else:
        core.merge_deadline = core.hold_deadline = inf
        core.seq_unchanged = 0
        core.progress_at = core.now
    core.last_seq = core.passed_seq = seq
    limit = core.parameters.seqno_unchanged_const_rotations
    # One more at the representative: when it parks the token, all others know already.
    core.held = core.seq_unchanged > limit if core.is_representative else core.seq_unchanged >= limit


def _allowance(core: Core, token: OrfToken, operational: bool) -> int:
    core.cbl = len(core.current_queue()) if operational else len(core.recovery_queue)
    core.calm_visits = core.calm_visits + 1 if core.seq_unchanged and not token.rtr_list else 0
    return share(core, token.backlog, _mcasts_of_last_rotation(core, token))


def share(core: Core, token_backlog: int, fcc: int) -> int:
    """Packets that this node may send at this visit; its own backlog has been counted."""
    return allowance(
        max_messages=visit_packets(core.parameters, wide=core.direct.in_ring),
        window_size=window_packets(core.parameters, wide=core.direct.in_ring),
        fcc=fcc,
        token_backlog=token_backlog,
        own_backlog=core.cbl,
        own_previous_backlog=core.pbl,
    )


def _mcasts_of_last_rotation(core: Core, token: OrfToken) -> int:
    """The token's fcc; but after some rotations without any mcast it is nothing, so a greater one is a mistake, which
    would keep everybody from sending for good."""
    calm = core.calm_visits >= CALM_VISITS and token.fcc > window_packets(core.parameters, wide=core.direct.in_ring)
    return core.trc if calm else token.fcc


def _serve_retransmits(
    core: Core, window: Window, token: OrfToken, allowed: int
) -> tuple[list[tuple[RingId, int]], int]:
    """Re-send what is asked for and held here; gives the requests that remain and how many were served. Requests that
    nobody could mean are dropped: they would take the place of others for good."""
    if not token.rtr_list:
        return [], 0
    remaining: list[tuple[RingId, int]] = []
    served = 0
    for ring, seq in token.rtr_list:
        if ring != core.ring or not window.released < seq <= token.seq:
            continue
        message = window.get(seq) if served < allowed else None
        if message is None:
            remaining.append((ring, seq))
        else:
            core.stats.mcast_retx += 1
            core.broadcast(message.raw, to_self=False)
            served += 1
    return remaining, served


def _request_is_in_vain(core: Core, window: Window, rtr_list: list[tuple[RingId, int]]) -> bool:
    """Whether a request for a message that we lack as well has come by again and again: nobody has it."""
    if not rtr_list and not core.unserved:
        return False
    before = core.unserved
    core.unserved = {seq: before.get(seq, core.now) for _, seq in rtr_list if seq not in window}
    patience_s = core.parameters.token_timeout_s
    return any(core.now - since > patience_s for since in core.unserved.values())


def _request_retransmits(core: Core, window: Window, rtr_list: list[tuple[RingId, int]], token_seq: int) -> None:
    """Ask for what has been missing for some visits; a multicast may merely be slower than the token."""
    if core.aru >= token_seq or len(rtr_list) >= RETRANSMIT_ENTRIES_MAX:
        return
    requested = {seq for _, seq in rtr_list}
    patience = core.parameters.miss_count_const_visits
    counts = core.miss_counts
    for seq in window.missing(core.aru, token_seq):
        count = counts.get(seq, 0) + 1
        counts[seq] = count
        if count >= patience and seq not in requested:
            rtr_list.append((core.ring, seq))
            core.stats.retransmits_requested += 1
            if len(rtr_list) >= RETRANSMIT_ENTRIES_MAX:
                return


def _fail_to_receive(core: Core) -> None:
    """We hold the whole ring up and cannot get what we lack: go, and come back with a clean slate."""
    core.log("err", "FAILED TO RECEIVE: messages that others have do not get here; leaving this ring to start again")
    core.failed_to_receive = True
    core.failed.setdefault(core.me)
    enter_gather(core, f"node {core.me} failed to receive messages")
