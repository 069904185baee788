"""GATHER: tell everybody whom one sees, until all who are seen see the same (protocol/, chapter "Membership")."""

from math import inf

from totemd.ids import NodeId
from totemd.limits import PROCESSOR_COUNT_MAX
from totemd.totem import commit
from totemd.totem.core import Core, State
from totemd.wire.packets import FEATURE_DIRECT_TOKEN, LEAVE_SENDER, Join, encode_join

JOIN_CROWD = 8
"""For every so many nodes in sight, joins are repeated by one join timeout more seldom."""


def enter_gather(core: Core, cause: str) -> None:
    """Start (again) to agree on a membership. What was learnt so far of who is there is kept.

    `cause` says why, for the people who will read of the new membership; the first cause since the last one counts.
    """
    if core.state is State.OPERATIONAL:
        core.cause = cause
        core.stats.continuous_gather = 0
    core.log("debug", f"gathering: {cause}")
    again = core.state is State.GATHER
    core.stats.gather_entered += 1
    core.stats.continuous_gather += 1
    core.change_state(State.GATHER)
    core.discard_tokens = True
    core.originated = False
    core.held = core.parked = core.wanted = False
    core.direct.reset()
    core.proc.setdefault(core.me)
    core.consensus = {core.me}
    core.retransmit_deadline = core.token_deadline = core.merge_deadline = core.hold_deadline = inf
    core.heartbeat_deadline = inf
    core.token_copy = None
    core.consensus_deadline = core.now + core.parameters.consensus_timeout_s
    if core.parameters.send_join_timeout_s > 0:
        # Spreads the joins of large rings out in time.
        core.join_deadline = core.now + core.random() * core.parameters.send_join_timeout_s
    elif again:
        # Sent when all that came with it has been handled: there may be more that is new.
        core.join_deadline = core.now
    else:
        send_join(core)


def send_join(core: Core) -> None:
    """Multicast our view, to ourselves too: that is how a lone node agrees with itself."""
    # What many say over and over takes all of them time; a lost join can wait as the ring grows.
    core.join_deadline = core.now + core.parameters.join_timeout_s * (1 + len(core.proc) // JOIN_CROWD)
    core.stats.memb_join_tx += 1
    ring_seq = max(core.ring.seq, core.refused_ring_seq)
    features = FEATURE_DIRECT_TOKEN if core.parameters.direct_token else 0
    join = Join(core.me, core.me, ring_seq, tuple(core.proc), tuple(core.failed), features)
    core.broadcast(encode_join(join), to_self=True)


def send_leave(core: Core) -> None:
    """Say goodbye: nobody needs to wait for our token. Only ourselves stand in the failed list, because peers stop
    (assert) when a list leaves nobody over."""
    proc = tuple(nodeid for nodeid in core.proc if nodeid != core.me and nodeid not in core.failed)
    core.broadcast(encode_join(Join(LEAVE_SENDER, core.me, core.ring.seq, proc, (core.me,))), to_self=False)


def candidates(core: Core) -> set[NodeId]:
    """The nodes of the membership that is being agreed on."""
    return {nodeid for nodeid in core.proc if nodeid not in core.failed}


def meet(core: Core, sender: NodeId, cause: str) -> None:
    """A node of another ring was heard in OPERATIONAL: gather with it, once all members have installed this ring.

    Before that a join of ours would find members in RECOVERY, where real nodes stop (assert) when a join arrives
    together with the token.
    """
    if core.settled:
        core.proc.setdefault(sender)
        enter_gather(core, cause)
    elif len(core.newcomers) < PROCESSOR_COUNT_MAX:
        core.newcomers.setdefault(sender, cause)


def settle(core: Core) -> None:
    """The token came round once after the installation: all members have installed the ring. Meet who waits."""
    core.settled = True
    newcomers, core.newcomers = core.newcomers, {}
    if newcomers:
        core.proc.update(dict.fromkeys(newcomers))
        enter_gather(core, next(iter(newcomers.values())))


def handle_join(core: Core, join: Join) -> None:
    """A join or leave arrived (our own, too)."""
    core.stats.memb_join_rx += 1
    if join.system_from in core.direct.features or len(core.direct.features) < PROCESSOR_COUNT_MAX:
        core.direct.features[join.system_from] = join.features
    if not core.is_credible(join.ring_seq):
        return
    core.token_ring_seq = max(core.token_ring_seq, join.ring_seq)
    if _is_stale(core, join):
        return
    sender = join.system_from
    if core.state is State.OPERATIONAL and not core.settled and sender not in core.memb:
        meet(core, sender, _cause(core, join))
        return
    if core.state is State.RECOVERY:
        restore_old_ring(core)
    changed = _absorb(core, join)
    if join.is_leave:
        core.leavers.add(sender)
    if changed or core.state is not State.GATHER:
        enter_gather(core, _cause(core, join))
    # A sender whose view equals ours (now) has agreed, also when its join is what made us equal.
    if not join.is_leave and set(join.proc_list) == core.proc.keys() and set(join.failed_list) == core.failed.keys():
        core.consensus.add(sender)
        _commit_if_agreed(core)


def _cause(core: Core, join: Join) -> str:
    sender = join.system_from
    if join.is_leave:
        return f"node {sender} left"
    if sender == core.me:
        return "this node started"
    if sender not in core.memb:
        return f"node {sender} joins"
    if core.failed:
        return f"node {sender} lost {_nodes(join.failed_list)}"
    return f"node {sender} renews the membership"


def _nodes(nodes: tuple[NodeId, ...]) -> str:
    return "node " + ", ".join(str(nodeid) for nodeid in nodes) if nodes else "the token"


def _is_stale(core: Core, join: Join) -> bool:
    """Whether the join says nothing to a node in our state (state table rows MEM-JOIN)."""
    sender = join.system_from
    if core.state is State.OPERATIONAL:
        if join.is_leave and sender not in core.memb:
            return True
        return core.me in join.failed_list or (sender in core.memb and join.ring_seq < core.ring.seq)
    if core.state is State.COMMIT and sender in core.new_memb and not set(join.proc_list) <= core.proc.keys():
        # It sees more than the commit token says, so it will refuse the token whenever that comes: views only grow.
        return False
    if core.state in (State.COMMIT, State.RECOVERY):
        return sender not in core.new_memb or join.ring_seq < core.ring.seq
    return core.state is State.LEFT


def _absorb(core: Core, join: Join) -> bool:
    """Take what the join adds to our view; False if that is nothing."""
    sender = join.system_from
    if sender in core.failed:
        return False
    if join.is_leave and sender in core.proc:
        core.failed.setdefault(sender)
        _merge(core, join)
        return True
    if set(join.proc_list) <= core.proc.keys() and set(join.failed_list) <= core.failed.keys():
        return False
    before = len(core.proc), len(core.failed)
    _merge(core, join)
    return before != (len(core.proc), len(core.failed))


def _merge(core: Core, join: Join) -> None:
    sender = join.system_from
    for nodeid in join.proc_list:
        if len(core.proc) < PROCESSOR_COUNT_MAX:
            core.proc.setdefault(nodeid)
    if core.me in join.failed_list:
        # It gave us up, so the two of us cannot be in one ring now.
        if sender != core.me:
            core.failed.setdefault(sender)
    elif sender in core.memb:
        # Only a member knows who of the old ring has gone; a stranger's list is about another ring.
        for nodeid in join.failed_list:
            if nodeid != core.me and nodeid in core.proc:
                core.failed.setdefault(nodeid)


def _commit_if_agreed(core: Core) -> None:
    nodes = candidates(core)
    if not nodes <= core.consensus:
        return
    if len(core.proc) == 1 and core.now < core.look_around_until:
        # Those who are there have not had the time to answer; our next join lets us go on.
        return
    if core.failed_to_receive:
        # We could not get the ring's messages: start alone, with a clean slate, and merge again.
        core.failed_to_receive = False
        core.proc = {core.me: None}
        core.failed = {}
        commit.propose(core)
    elif nodes and min(nodes) == core.me:
        if core.join_deadline <= core.now:
            send_join(core)
        commit.propose(core)


def restore_old_ring(core: Core) -> None:
    """A recovery ended early: what counts is again what we have of the last installed ring."""
    core.aru = core.old_aru
    core.high = core.old_high


def consensus_expired(core: Core) -> None:
    """Not everybody agreed in time (they are given up), or all did but the representative never proposed."""
    core.consensus_deadline = inf
    nodes = candidates(core)
    if nodes <= core.consensus:
        core.consensus = {core.me}
        core.token_deadline = core.now + core.parameters.token_timeout_s
        return
    core.stats.consensus_timeouts += 1
    silent = sorted(nodeid for nodeid in nodes if nodeid not in core.consensus)
    core.log("notice", f"no agreement within the consensus timeout; giving up node {', '.join(map(str, silent))}")
    for nodeid in core.proc:
        if nodeid not in core.consensus:
            core.failed.setdefault(nodeid)
    enter_gather(core, f"no answer from node {', '.join(map(str, silent))}")
