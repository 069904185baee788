"""Votes of a replicated configuration count at once, on all nodes at one place of the order: nobody's quorum flaps."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from totemd.errors import Code, ServiceError
from totemd.services.quorum import QuorumNotification
from totemd.wire.votequorum import FUNCTION_NODEINFO, NodeInfo, encode_nodeinfo
from voting_cluster import VotingCluster


def put_in_force(cluster: VotingCluster, votes: dict[int, int]) -> None:
    """What happens at the activation of a configuration with these votes; then what the nodes say is delivered."""
    total = sum(votes.values())
    for nodeid, node in cluster.nodes.items():
        own = votes.get(nodeid, 0)
        node.votes.reconfigure(replace(cluster.settings, expected_votes=total, votes=own), votes)
    cluster.settle()


def verdicts(cluster: VotingCluster) -> set[bool]:
    """All that clients were told since `forget_events`."""
    events = [event for node in cluster.nodes.values() for event in node.events.take()]
    return {event.quorate for event in events if isinstance(event, QuorumNotification)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({1: 1, 2: 0}, {1: 1, 2: 1}),
        ({1: 1, 2: 1}, {1: 1, 2: 0}),
        ({1: 1, 2: 1}, {1: 0, 2: 1}),
        ({1: 1, 2: 1, 3: 1}, {1: 1, 2: 1, 3: 0}),
        ({1: 1, 2: 1, 3: 2}, {1: 1, 2: 1, 3: 1}),
    ],
)
def test_one_vote_more_or_less_costs_nobody_the_quorum(before: dict[int, int], after: dict[int, int]) -> None:
    cluster = VotingCluster(len(before), votes=before)
    cluster.form(before)
    cluster.forget_events()
    put_in_force(cluster, after)
    assert verdicts(cluster) <= {True}
    assert cluster.quorate() == sorted(before)
    for node in cluster.nodes.values():
        info = node.votes.get_info()
        assert (info.expected_votes, info.total_votes) == (sum(after.values()), sum(after.values()))


@given(votes=st.lists(st.integers(0, 3), min_size=2, max_size=5), data=st.data())
@settings(max_examples=60)
def test_whoever_is_present_with_a_majority_by_both_keeps_it_throughout(votes: list[int], data: st.DataObject) -> None:
    before = dict(enumerate(votes, 1))
    changed = data.draw(st.sampled_from(sorted(before)))
    after = {**before, changed: max(0, before[changed] + data.draw(st.sampled_from([-1, 1])))}
    present = data.draw(st.sets(st.sampled_from(sorted(before)), min_size=1))

    def majority(wanted: dict[int, int]) -> bool:
        return 2 * sum(wanted[nodeid] for nodeid in present) > sum(wanted.values()) > 0

    cluster = VotingCluster(len(before), votes=before)
    if sum(before.values()) == 0:
        return
    cluster.form(before)
    cluster.form(present)
    assert bool(cluster.quorate()) == majority(before)
    cluster.forget_events()
    put_in_force(cluster, after)
    if majority(before) and majority(after):
        assert verdicts(cluster) <= {True}
    assert cluster.quorate() == (sorted(present) if majority(after) else [])


def test_what_is_forced_outlives_a_change_of_votes() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    cluster.form([1])
    cluster[1].votes.force_expected(1, 600, yes=True)
    cluster.settle()
    assert cluster.quorate() == [1]
    cluster.forget_events()
    put_in_force(cluster, {1: 1, 2: 1})
    assert verdicts(cluster) <= {True}
    assert cluster.quorate() == [1]


@given(votes=st.lists(st.integers(0, 3), min_size=2, max_size=5), data=st.data())
@settings(max_examples=60)
def test_in_force_while_nodes_are_synchronized_nobody_counts_by_old_votes(
    votes: list[int], data: st.DataObject
) -> None:
    before = dict(enumerate(votes, 1))
    after = {nodeid: data.draw(st.integers(0, 3)) for nodeid in before}
    if not sum(before.values()) or not sum(after.values()):
        return
    known = data.draw(st.sets(st.sampled_from(sorted(before)), min_size=1))
    present = tuple(sorted(known | data.draw(st.sets(st.sampled_from(sorted(before))))))
    cluster = VotingCluster(len(before), votes=before)
    cluster.form(known, set(present) - known) if set(present) - known else cluster.form(known)
    cluster.forget_events()
    cluster.begin(present)
    for nodeid in present:
        settled = replace(cluster.settings, expected_votes=sum(after.values()), votes=after[nodeid])
        cluster[nodeid].votes.reconfigure(settled, after)
    cluster.finish(present)
    majority = 2 * sum(after[nodeid] for nodeid in present) > sum(after.values())
    assert verdicts(cluster) == {majority}
    assert cluster.quorate() == (list(present) if majority else [])


def test_votes_are_those_of_the_configuration_whatever_a_message_from_before_says() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    put_in_force(cluster, {1: 1, 2: 1, 3: 0})
    cluster.forget_events()
    late = encode_nodeinfo(NodeInfo(3, 1, 3, 0))
    for node in cluster.nodes.values():
        node.votes.receive(FUNCTION_NODEINFO, 3, late)
        info = node.votes.get_info()
        assert (info.expected_votes, info.total_votes) == (2, 2)


def test_votes_that_the_configuration_gives_are_not_set_at_run_time() -> None:
    cluster = VotingCluster(2)
    cluster.form([1, 2])
    put_in_force(cluster, {1: 1, 2: 1})
    with pytest.raises(ServiceError, match="quorum_votes") as caught:
        cluster[1].votes.set_votes(2, 0)
    assert caught.value.code is Code.NOT_SUPPORTED


@pytest.mark.parametrize(
    ("forced", "after", "expected"),
    [
        (6, {1: 1, 2: 3, 3: 3}, 7),
        (6, {1: 1, 2: 1, 3: 2}, 6),
        (3, {1: 1, 2: 1, 3: 1}, 3),
    ],
)
def test_what_is_forced_gives_way_to_what_is_configured_at_once(
    forced: int, after: dict[int, int], expected: int
) -> None:
    """Neither is less expected than is configured, nor does the number outlive the force."""
    cluster = VotingCluster(3, votes={1: 1, 2: 1, 3: 3})
    cluster.form([1, 2, 3])
    if forced < 5:
        cluster.form([2, 1])
    cluster[1].votes.force_expected(forced, 600, yes=True)
    cluster.settle()
    put_in_force(cluster, after)
    for node in cluster.nodes.values():
        configured = sum(after.values())
        assert node.votes.get_info().expected_votes == expected
        assert (node.votes.forced.now is not None) == (expected != configured)
        for standing in node.votes.nodes():
            assert standing.votes == after[standing.nodeid]
