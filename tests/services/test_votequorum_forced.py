"""Expected votes by force: who knows of it, what ends it, and what it must not outlive."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from totemd.config.model import QuorumSettings
from totemd.errors import Code, ServiceError
from totemd.services.votequorum.forced import FORCED_S_MAX, TIMER, Forced
from totemd.wire.votequorum import RECONFIGURE_EXPECTED_VOTES, RECONFIGURE_FORCED, Reconfigure, encode_reconfigure
from voting_cluster import VotingCluster


def survivor(size: int, present: int = 1) -> VotingCluster:
    """A cluster of which only the first nodes are left, and these are forced to have quorum for ten minutes."""
    cluster = VotingCluster(size)
    cluster.form(range(1, size + 1))
    cluster.form(range(1, present + 1))
    cluster[1].votes.force_expected(present, 600, yes=True)
    cluster.settle()
    return cluster


def forced(cluster: VotingCluster) -> dict[int, Forced | None]:
    return {nodeid: node.votes.forced.now for nodeid, node in cluster.nodes.items()}


def expected(cluster: VotingCluster) -> set[int]:
    return {node.votes.get_info().expected_votes for node in cluster.nodes.values()}


def test_the_last_survivor_has_quorum_until_the_time_is_over() -> None:
    cluster = survivor(3)
    assert cluster.quorate() == [1]
    assert forced(cluster) == {1: Forced(1, 3, 600.0)}
    cluster[1].host.now += 60
    assert forced(cluster) == {1: Forced(1, 3, 540.0)}
    cluster.fire(TIMER)
    assert cluster.quorate() == []
    assert forced(cluster) == {1: None}
    assert expected(cluster) == {3}


def test_it_ends_when_a_node_returns_with_which_there_is_quorum() -> None:
    cluster = survivor(3)
    cluster.form([1, 2])
    cluster.fire(TIMER)
    assert cluster.quorate() == [1, 2]
    assert set(forced(cluster).values()) == {None}
    assert expected(cluster) == {3}
    cluster.form([1])
    assert cluster.quorate() == []


def test_a_node_that_returns_too_early_learns_of_it_and_ends_it() -> None:
    """Whoever knew it first may be gone when the time is over."""
    cluster = survivor(5)
    cluster[1].host.now += 100
    cluster.form([1, 2])
    assert cluster.quorate() == [1, 2]
    assert forced(cluster) == {1: Forced(2, 5, 500.0), 2: Forced(2, 5, 500.0)}
    cluster.form([2, 3])
    assert forced(cluster)[2] is not None
    cluster.fire(TIMER)
    assert cluster.quorate() == []
    assert expected(cluster) == {5}


def test_all_present_members_know_it_and_one_message_ends_it() -> None:
    cluster = survivor(5, present=2)
    assert forced(cluster) == {nodeid: Forced(2, 5, 600.0) for nodeid in (1, 2)}
    cluster.fire(TIMER, 2)
    assert set(forced(cluster).values()) == {None}
    assert all(TIMER not in node.host.timers for node in cluster.nodes.values())


def test_a_present_majority_may_be_forced_so_that_it_survives_more() -> None:
    """No node has come back, so that there is quorum without force ends nothing."""
    cluster = survivor(5, present=3)
    assert cluster[1].votes.get_info().quorum == 2
    cluster.form([1, 2])
    assert cluster.quorate() == [1, 2]
    cluster.form([1, 2, 3])
    assert forced(cluster)[1] == Forced(3, 5, 600.0)
    cluster.form([1, 2, 3, 4])
    cluster.fire(TIMER)
    assert set(forced(cluster).values()) == {None}
    assert expected(cluster) == {5}


def test_the_end_is_announced_until_it_is_heard() -> None:
    cluster = survivor(3)
    cluster[1].host.fire(TIMER)
    cluster[1].host.queue.clear()
    assert forced(cluster)[1] is not None
    cluster.fire(TIMER)
    assert forced(cluster)[1] is None


def test_votes_that_are_set_for_good_end_it() -> None:
    cluster = survivor(3)
    cluster[1].votes.set_expected(1)
    cluster.settle()
    assert forced(cluster) == {1: None}
    assert expected(cluster) == {1}


def test_a_smaller_nodelist_leaves_it_in_force_or_makes_it_needless() -> None:
    cluster = survivor(3)
    cluster[1].votes.reconfigure(QuorumSettings(expected_votes=2))
    cluster.settle()
    assert forced(cluster) == {1: Forced(1, 2, 600.0)}
    assert cluster.quorate() == [1]
    cluster[1].votes.reconfigure(QuorumSettings(expected_votes=1))
    cluster.settle()
    assert forced(cluster) == {1: None}
    assert cluster.quorate() == [1]


def test_members_that_are_corosync_hear_it_in_their_own_words() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    cluster.form([1])
    cluster[1].votes.force_expected(1, 60, yes=True)
    queued = list(cluster[1].host.queue)
    assert queued == [
        encode_reconfigure(Reconfigure(1, 60, RECONFIGURE_FORCED)),
        encode_reconfigure(Reconfigure(1, 1, RECONFIGURE_EXPECTED_VOTES)),
    ]


@pytest.mark.parametrize(
    ("votes", "seconds", "yes", "code"),
    [
        (1, 60, False, Code.ACCESS),
        (2, 60, False, Code.ACCESS),
        (1, 0, True, Code.INVALID_PARAM),
        (1, FORCED_S_MAX + 1, True, Code.INVALID_PARAM),
        (2**32, 60, True, Code.INVALID_PARAM),
    ],
)
def test_what_is_refused(votes: int, seconds: int, yes: bool, code: Code) -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    cluster.form([1])
    with pytest.raises(ServiceError) as refused:
        cluster[1].votes.force_expected(votes, seconds, yes=yes)
    assert refused.value.code is code
    assert cluster[1].host.queue == []


def test_fewer_than_present_and_more_than_quorum_bears_are_refused_with_a_yes_too() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    for votes in (2, 6):
        with pytest.raises(ServiceError) as refused:
            cluster[1].votes.force_expected(votes, 60, yes=True)
        assert refused.value.code is Code.INVALID_PARAM
    cluster[1].votes.force_expected(4, 60, yes=False)
    cluster.settle()
    assert expected(cluster) == {4}
    cluster.fire(TIMER)
    assert expected(cluster) == {3}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=6))
def test_hostile_announcements_are_bounded(claims: list[tuple[int, int]]) -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    for votes, seconds in claims:
        message = encode_reconfigure(Reconfigure(votes, seconds, RECONFIGURE_FORCED))
        cluster[1].votes.receive(1, 2, message)
        now = cluster[1].votes.forced.now
        assert now is None or now.seconds_left <= FORCED_S_MAX
    cluster.fire(TIMER)
    assert forced(cluster)[1] is None
    assert expected(cluster) == {3}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[list[int], int, int]]:
    """Where each of up to five nodes is, again and again, and who then forces how many votes."""
    size = draw(st.integers(2, 5))
    places = st.lists(st.integers(0, 2), min_size=size, max_size=size)
    return draw(st.lists(st.tuples(places, st.integers(1, size), st.integers(1, size + 1)), min_size=1, max_size=6))


def play(history: list[tuple[list[int], int, int]], *, yes: bool) -> VotingCluster:
    cluster = VotingCluster(len(history[0][0]))
    for places, asked, votes in history:
        components = [[i for i, place in enumerate(places, 1) if place == part] for part in (0, 1)]
        cluster.form(*filter(None, components))
        if not yes:
            assert len({cluster[nodeid].members for nodeid in cluster.quorate()}) <= 1
        if asked in cluster.nodes:
            try:
                cluster[asked].votes.force_expected(votes, 60, yes=yes)
            except ServiceError:
                continue
            cluster.settle()
    return cluster


@settings(max_examples=150, deadline=None)
@given(histories())
def test_without_a_yes_one_component_is_quorate_whatever_is_asked(history: list[tuple[list[int], int, int]]) -> None:
    play(history, yes=False)


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_whoever_is_left_goes_back(history: list[tuple[list[int], int, int]], data: st.DataObject) -> None:
    """When the time is over on all, nothing is forced, and each node expects what is configured."""
    cluster = play(history, yes=True)
    for nodeid in data.draw(st.permutations(sorted(cluster.nodes)), label="turns"):
        cluster.fire(TIMER, nodeid)
    assert set(forced(cluster).values()) <= {None}
    assert expected(cluster) <= {cluster.size}
