"""COMMIT: the representative's token collects what everybody has of the old ring (protocol/, chapter "Membership")."""

from math import inf

from totemd.ids import NO_RING, RingId
from totemd.totem.core import Core, State
from totemd.totem.sequence import MASK
from totemd.wire.packets import CommitEntry, CommitToken, encode_commit_token

RING_SEQ_STEP = 4
"""How far a new ring's sequence number lies above the highest one that any of its members has seen."""

_EMPTY = CommitEntry(NO_RING, 0, 0, 0)


def propose(core: Core) -> None:
    """Make the commit token of a new ring of all candidates; only its representative may."""
    members = tuple(sorted(nodeid for nodeid in core.proc if nodeid not in core.failed))
    ring = RingId(core.me, core.token_ring_seq + RING_SEQ_STEP)
    enter_commit(core, CommitToken(core.me, 0, ring, 0, members, (_EMPTY,) * len(members)))


def handle_commit_token_in_gather(core: Core, token: CommitToken) -> None:
    """Accept a proposal that is newer than all we know and has exactly the members that we agreed on."""
    members = {nodeid for nodeid in core.proc if nodeid not in core.failed}
    if token.ring.seq <= core.ring.seq or not core.is_credible(token.ring.seq):
        return
    if token.ring.rep != token.members[0] or token.memb_index >= len(token.members):
        return
    if token.members[token.memb_index] != core.me:
        return
    if set(token.members) == members:
        enter_commit(core, token)
    elif not members <= set(token.members) and token.ring.seq > core.refused_ring_seq:
        _refuse(core, token)


def _refuse(core: Core, token: CommitToken) -> None:
    """We see more nodes than the proposal has, and views only grow. Those who wait in COMMIT for the proposal listen to
    no join that is older than it, so ours is to be as new."""
    core.refused_ring_seq = token.ring.seq
    core.token_ring_seq = max(core.token_ring_seq, token.ring.seq)
    core.join_deadline = core.now


def enter_commit(core: Core, token: CommitToken) -> None:
    """Fill in our entry, make the ring's number durable, pass the token on."""
    core.stats.commit_entered += 1
    core.change_state(State.COMMIT)
    if not core.saved:
        # The attempt is about the last installed ring, however many attempts fail.
        core.saved = True
        core.old_ring = core.ring
        core.old_aru = core.aru
        core.old_high = core.high
        core.old_safe_up_to = core.safe_up_to
    core.new_memb = token.members
    index = token.memb_index
    filled = CommitToken(
        core.me,
        (token.token_seq + 1) & MASK,
        token.ring,
        index + 1,
        token.members,
        _fill_in(core, token.entries, index),
    )
    core.join_deadline = core.consensus_deadline = inf
    core.ring = token.ring
    core.token_ring_seq = max(core.token_ring_seq, token.ring.seq)
    core.trc = core.pbl = core.cbl = 0
    # Before the token leaves: a restart must never claim this number again.
    core.persist_ring_seq(token.ring.seq)
    core.stats.memb_commit_token_tx += 1
    core.send_token(token.members[(index + 1) % len(token.members)], encode_commit_token(filled))
    core.start_token_timers()


def is_complete(core: Core, token: CommitToken) -> bool:
    """Whether this is the proposal that we know, filled in by all, with what we said ourselves."""
    if token.ring != core.ring or token.memb_index != len(token.members) or token.members != core.new_memb:
        return False
    mine = token.entries[token.members.index(core.me)]
    return (mine.ring, mine.aru, mine.high_delivered) == (core.old_ring, core.old_aru, core.high_delivered)


def _fill_in(core: Core, entries: tuple[CommitEntry, ...], index: int) -> tuple[CommitEntry, ...]:
    """Our entry at `index`; among those of our old ring, whoever has less than the best is marked as lacking."""
    core.received_flg = core.old_aru == core.old_high
    mine = CommitEntry(core.old_ring, core.old_aru, core.high_delivered, int(core.received_flg))
    known = [*entries[:index], mine]
    best = max(entry.aru for entry in known if entry.ring == core.old_ring)
    for position, entry in enumerate(known):
        if entry.ring == core.old_ring and entry.aru < best:
            known[position] = CommitEntry(entry.ring, entry.aru, entry.high_delivered, 0)
    core.received_flg = bool(known[index].received_flg)
    return (*known, *entries[index + 1 :])
