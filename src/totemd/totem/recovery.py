"""RECOVERY: members of one old ring give each other its missing messages (protocol/, chapter "Recovery")."""

from totemd.errors import BadPacket
from totemd.totem.core import Core, State
from totemd.totem.sequence import MASK
from totemd.totem.window import Window
from totemd.wire.packets import (
    CommitEntry,
    CommitToken,
    Mcast,
    OrfToken,
    decode_packet,
    encode_commit_token,
    encode_orf_token,
)

UNSET_TOKEN_SEQ = 0xFFFFFFFF
UNSET_ARU = 0xFFFFFFFF


def enter_recovery(core: Core, token: CommitToken) -> None:
    """Pass the complete commit token on and queue every old message that somebody may lack."""
    core.stats.recovery_entered += 1
    core.change_state(State.RECOVERY)
    core.discard_tokens = False
    core.recovery_window = Window()
    core.recovery_queue.clear()
    core.recovered.clear()
    core.miss_counts.clear()
    core.unserved = {}
    core.calm_visits = 0
    core.progress_at = core.now
    core.my_token_seq = UNSET_TOKEN_SEQ
    core.stats.memb_commit_token_tx += 1
    token_seq = (token.token_seq + 1) & MASK
    forwarded = CommitToken(core.me, token_seq, token.ring, token.memb_index, token.members, token.entries)
    core.send_token(core.successor(token.members), encode_commit_token(forwarded))
    _plan(core, dict(zip(token.members, token.entries, strict=True)))
    core.aru = core.high = core.install_seq = core.last_aru = core.safe_up_to = 0
    core.aru_count = core.seq_unchanged = core.last_seq = core.passed_seq = 0
    # Counters of an earlier attempt would let this node install before the others.
    core.retrans_flg_count = core.rotation_counter = 0
    core.set_retrans_flg = False
    core.originated = False
    core.start_token_timers()


def _plan(core: Core, entries: dict[int, CommitEntry]) -> None:
    core.trans = tuple(nodeid for nodeid in core.memb if nodeid in entries and entries[nodeid].ring == core.old_ring)
    core.deliver_from = frozenset(core.trans)
    old = [entries[nodeid] for nodeid in core.trans]
    if all(entry.received_flg for entry in old):
        return
    low = min((entry.aru for entry in old), default=core.old_high)
    for _, message in core.window.held(low, core.old_high):
        core.recovery_queue.append(message)
    if core.recovery_queue:
        core.log("notice", f"re-sending {len(core.recovery_queue)} messages of ring {core.old_ring} to its survivors")


def handle_commit_token_in_recovery(core: Core, token: CommitToken) -> None:
    """The commit token came back to the representative: everybody is in recovery, the ordering token may start."""
    if not core.is_representative or core.originated or token.ring != core.ring:
        return
    core.originated = True
    core.set_retrans_flg = bool(core.recovery_queue)
    first = OrfToken(core.me, 0, 0, 0, UNSET_ARU, core.me, core.ring, 0, 0, int(core.set_retrans_flg), ())
    core.stats.orf_token_tx += 1
    core.send_token(core.successor(core.new_memb), encode_orf_token(first))
    core.start_token_timers()


def note_recovered(core: Core, message: Mcast) -> None:
    """An old message has a number on the new ring: all will get it, so nobody need send it once more."""
    inner = unwrap(message)
    if inner is not None and inner.ring == core.old_ring:
        core.recovered.add(inner.seq)


def next_to_recover(core: Core) -> Mcast | None:
    """The next old message that has not been sent again yet. If every survivor sent all it has, what one of many nodes
    missed of a busy ring would be more than a window holds, and the recovery could not end."""
    while core.recovery_queue:
        message = core.recovery_queue.popleft()
        if message.seq not in core.recovered:
            return message
    return None


def unwrap(message: Mcast) -> Mcast | None:
    """The old message inside a recovery message; None if there is none."""
    try:
        inner = decode_packet(message.payload)
    except BadPacket:
        return None
    return inner if isinstance(inner, Mcast) else None


def count_rotations(core: Core, retrans_flg: int, token_seq_high: int, token_aru: int) -> tuple[int, bool]:
    """One visit's bookkeeping of who still has old messages to send: gives the token's new retrans_flg, and whether
    this is the visit in which the ring is installed. All members must count alike, or one would send ordinary messages
    to others that are not ready for them."""
    if core.recovery_queue:
        if not retrans_flg:
            retrans_flg = 1
            core.set_retrans_flg = True
    elif retrans_flg and core.set_retrans_flg:
        retrans_flg = 0
        core.set_retrans_flg = False
    core.retrans_flg_count = 0 if retrans_flg else core.retrans_flg_count + 1
    if core.retrans_flg_count == 2:
        core.install_seq = token_seq_high
    if core.retrans_flg_count >= 2 and not core.received_flg and core.install_seq <= core.aru:
        core.received_flg = True
    if core.retrans_flg_count >= 3 and core.install_seq <= token_aru:
        core.rotation_counter += 1
    else:
        core.rotation_counter = 0
    if core.rotation_counter < 2:
        return retrans_flg, False
    core.rotation_counter = core.retrans_flg_count = 0
    return retrans_flg, True
