"""Whether a change of votes is safe: no majority by the old votes may be apart from a majority by the new ones.

While a change is under way some nodes decide by the old configuration and some by the new one. If every old majority
has a node in common with every new one, two components can never both have quorum (protocol/, chapter "Replicated
configuration"). One vote more or less in all is always safe; larger steps mostly are not.

Halves that win by a tie breaker are no majorities, and are left out: no vote could change if they counted, so no node
could come or go. With auto_tie_breaker a change of votes keeps two halves apart only if no split meets it.
"""

from collections.abc import Collection, Mapping
from typing import Final

from totemd.cluster.standing import joining_votes
from totemd.config.model import Configuration, NodeEntry, QuorumSettings, TieBreaker
from totemd.ids import NodeId
from totemd.record import record
from totemd.wire.votequorum import DEVICE_NODEID

EXACT_VOTES_MAX: Final = 10_000
"""With more votes than so the question is answered by a simpler rule, which refuses more."""


@record
class Franchise:
    """Who has how many votes, and how many make quorum."""

    votes: Mapping[NodeId, int]
    quorum: int
    options: QuorumSettings

    @property
    def total(self) -> int:
        return sum(self.votes.values())

    def present(self, members: Collection[NodeId]) -> int:
        """The votes of `members`."""
        return sum(self.votes.get(nodeid, 0) for nodeid in members)


def franchise(configuration: Configuration) -> Franchise:
    """The votes that a configuration gives; a quorum device's count as those of one more node."""
    votes = configuration.votes
    quorum = configuration.quorum
    if quorum.device_model is not None:
        votes[DEVICE_NODEID] = quorum.device_votes
    return Franchise(votes, max(quorum.expected_votes, sum(votes.values())) // 2 + 1, quorum)


def overlap(old: Franchise, new: Franchise) -> bool:
    """Whether every majority of `old` has a node in common with every majority of `new`."""
    left = old.total - old.quorum
    if left < 0:
        return True
    if old.total > EXACT_VOTES_MAX:
        more = sum(max(0, votes - old.votes.get(nodeid, 0)) for nodeid, votes in new.votes.items())
        return left + more < new.quorum
    return _most(old.votes, new.votes, left) < new.quorum


def _most(old: Mapping[NodeId, int], new: Mapping[NodeId, int], left: int) -> int:
    """The most new votes that nodes can have who have at most `left` old votes together."""
    free = 0
    best = [0] * (left + 1)
    for nodeid, votes in new.items():
        price = old.get(nodeid, 0)
        if price == 0:
            free += votes
            continue
        for budget in range(left, price - 1, -1):
            best[budget] = max(best[budget], best[budget - price] + votes)
    return best[left] + free


def problem(old: Configuration, new: Configuration, members: Collection[NodeId]) -> str | None:
    """Why the votes of `new` must not follow those of `old` in a ring of `members`; None if they may."""
    before, after = franchise(old), franchise(new)
    total = after.total + sum(_to_come(new, node) for node in new.nodes)
    if new.quorum.provider is not None and "quorum.expected_votes" in new.entries and new.quorum.expected_votes < total:
        return (
            f"quorum.expected_votes is {new.quorum.expected_votes}, fewer than the {total} votes of all: two "
            "components could both have quorum; leave the key out: then the votes are counted"
        )
    if _other_tie_breaker(old.quorum, new.quorum):
        return (
            "changes auto_tie_breaker_node, which takes effect on each node when it is restarted: both halves "
            "could have quorum meanwhile; switch auto_tie_breaker off, restart all nodes, and then switch it on with "
            "the new node"
        )
    if not overlap(before, after):
        return (
            "changes too many votes at once: nodes that still have the old configuration could have quorum beside "
            "those that have the new one; change one vote at a time"
        )
    needed = 1 if new.quorum.two_node else after.quorum
    device = {DEVICE_NODEID}
    if before.present({*members, *device}) >= before.quorum and after.present({*members, *device}) < needed:
        return (
            f"the {len(members)} nodes here would lose quorum by it: they would have "
            f"{after.present(members)} of {after.total} votes, and {needed} are needed"
        )
    return None


def _to_come(configuration: Configuration, node: NodeEntry) -> int:
    """How many votes more a node will have once it has been a member."""
    wanted = joining_votes(configuration, node)
    return 0 if wanted is None else max(0, wanted - node.quorum_votes)


def _other_tie_breaker(old: QuorumSettings, new: QuorumSettings) -> bool:
    """Whether nodes that run with `old` and nodes that start with `new` would let different halves win."""
    if TieBreaker.NONE in (old.tie_breaker, new.tie_breaker):
        return False
    return (old.tie_breaker, old.tie_breaker_nodes) != (new.tie_breaker, new.tie_breaker_nodes)


def lacks_own_majority(configuration: Configuration, members: Collection[NodeId]) -> str:
    """Why `members`, who have quorum, must not decide on changes: a quorum device votes for one component at a time but
    remembers nothing, so two components one after the other might not know of each other's changes. "" if they may."""
    votes = configuration.votes
    total, present = sum(votes.values()), sum(votes.get(nodeid, 0) for nodeid in members)
    if 2 * present > total:
        return ""
    return (
        f"changing the configuration needs more than half of the nodes' own votes, {present} of {total} are here: the "
        "quorum device's vote does not count for changes; if the other nodes are off for good, "
        "totemctl cluster expected lets those that are left go on"
    )


def can_go_back(old: Configuration, new: Configuration) -> bool:
    """Whether who goes back from `new` to `old` by himself still counts the same majorities."""
    before, after = franchise(old), franchise(new)
    if before.quorum != after.quorum or _counting(old.quorum) != _counting(new.quorum):
        return False
    return _voting(before.votes) == _voting(after.votes)


def _voting(votes: Mapping[NodeId, int]) -> dict[NodeId, int]:
    return {nodeid: count for nodeid, count in votes.items() if count}


def _counting(settings: QuorumSettings) -> tuple[object, ...]:
    return settings.two_node, settings.wait_for_all, settings.tie_breaker, settings.tie_breaker_nodes
