"""Never two quorate components, unless an option that says so allows it: static splits and whole histories.

The histories drive one electorate per node through the rules of the service: at each step every node finds itself in
some component (or down), components synchronize (all NODEINFO in one order), and the verdicts are compared.
What each option gives up is a test of its own, so that the table in `arithmetic` stays true.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from totemd.config.model import QuorumSettings, TieBreaker
from totemd.services.votequorum.arithmetic import calculate_quorum, may_expect, may_have_votes, recalculate
from totemd.services.votequorum.electorate import Electorate, Voter, VoterState, first_electorate
from totemd.services.votequorum.rules import (
    activate_configuration,
    apply_nodeinfo,
    apply_reconfigure,
    apply_settings,
    enter_configuration,
    opens_window,
    window_expired,
)
from totemd.wire.votequorum import (
    DEVICE_NODEID,
    NODE_LEAVING,
    NODE_QDEVICE_CAST_VOTE,
    NODE_QDEVICE_MASTER_WINS,
    RECONFIGURE_CANCEL_WAIT_FOR_ALL,
    RECONFIGURE_EXPECTED_VOTES,
    RECONFIGURE_NODE_VOTES,
    NodeInfo,
    Reconfigure,
)

DOWN = -1
VotesByNode = dict[int, int]


class History:
    """Some nodes and the components they are in; time passes only by `step` and the other verbs."""

    def __init__(self, options: QuorumSettings, votes: Sequence[int]) -> None:
        self.options = options
        self.votes: VotesByNode = dict(enumerate(votes, start=1))
        self.nodes: dict[int, Electorate] = {}
        self.disk: dict[int, int] = {}
        self.place: dict[int, int] = dict.fromkeys(self.votes, DOWN)
        self.left_over: dict[int, list[NodeInfo]] = {}
        """What was queued in a round that broke, and comes out first in the next one."""

    def step(self, places: Sequence[int], *, restarted: frozenset[int] = frozenset(), backwards: bool = False) -> None:
        """Node i+1 is in component places[i] from here on. Down and up again, or in `restarted`: it starts anew."""
        for nodeid, place in enumerate(places, start=1):
            if place == DOWN:
                self.nodes.pop(nodeid, None)
            elif nodeid not in self.nodes or nodeid in restarted:
                self.left_over.pop(nodeid, None)
                self.nodes[nodeid] = first_electorate(
                    replace(self.options, votes=self.votes[nodeid]), nodeid, self.disk.get(nodeid, 0)
                )
            self.place[nodeid] = place
        for members in self.components():
            self._synchronize(members, backwards=backwards)
        self._write()

    def interrupted_step(self, places: Sequence[int], delivered: int) -> None:
        """Configurations that break again after only some NODEINFO were delivered; nobody starts or stops."""
        for nodeid, place in enumerate(places, start=1):
            if nodeid in self.nodes and place != DOWN:
                self.place[nodeid] = place
        for members in self.components():
            self._enter(members)
            self._tell(members, list(members)[:delivered])
            for nodeid in list(members)[delivered:]:
                self.left_over.setdefault(nodeid, []).append(nodeinfo(self.nodes[nodeid]))
        self._write()

    def components(self) -> list[tuple[int, ...]]:
        places = {self.place[nodeid] for nodeid in self.nodes}
        return [tuple(sorted(n for n in self.nodes if self.place[n] == place)) for place in sorted(places)]

    def quorate(self) -> list[tuple[int, ...]]:
        """The components in which anybody believes in quorum."""
        return [members for members in self.components() if any(self.nodes[n].quorate for n in members)]

    def window_expires(self, nodeid: int) -> None:
        self.nodes[nodeid] = window_expired(self.nodes[nodeid])
        self._write()

    def leave(self, nodeid: int) -> None:
        """A clean exit under allow_downscale: the component hears of it, then goes on without the node."""
        members = next(members for members in self.components() if nodeid in members)
        self.nodes[nodeid] = self.nodes[nodeid].with_own_flags(set_=NODE_LEAVING)
        self._tell(members, [nodeid])
        places = [DOWN if n == nodeid else self.place[n] for n in self.votes]
        self.step(places)

    def reconfigure(self, members: Sequence[int], param: int, value: int = 0, nodeid: int = 0) -> None:
        for n in members:
            self.nodes[n] = apply_reconfigure(self.nodes[n], Reconfigure(nodeid, value, param))
        self._write()

    def _synchronize(self, members: tuple[int, ...], *, backwards: bool) -> None:
        self._enter(members)
        self._tell(members, list(reversed(members)) if backwards else list(members))
        for nodeid in members:
            self.nodes[nodeid] = activate_configuration(self.nodes[nodeid])

    def _enter(self, members: tuple[int, ...]) -> None:
        for nodeid in members:
            self.nodes[nodeid] = enter_configuration(self.nodes[nodeid], members)

    def _tell(self, members: Sequence[int], senders: Sequence[int]) -> None:
        old = [(n, info) for n in senders for info in self.left_over.pop(n, [])]
        said = [*old, *((n, nodeinfo(self.nodes[n])) for n in senders)]
        for sender, info in said:
            device = NodeInfo(DEVICE_NODEID, self.nodes[sender].device_votes, 0, 0)
            for n in members:
                self.nodes[n] = apply_nodeinfo(self.nodes[n], sender, info)
                self.nodes[n] = apply_nodeinfo(self.nodes[n], sender, device)

    def _write(self) -> None:
        self.disk.update({n: e.tracked_expected for n, e in self.nodes.items()})


def nodeinfo(electorate: Electorate) -> NodeInfo:
    own = electorate.own
    return NodeInfo(own.nodeid, own.votes, own.expected_votes, own.flags)


def full_cluster(options: QuorumSettings, votes: Sequence[int]) -> History:
    history = History(options, votes)
    history.step([0] * len(votes))
    return history


VOTES = st.lists(st.integers(0, 3), min_size=1, max_size=7).filter(lambda votes: sum(votes) > 0)
PLACES = st.lists(st.integers(DOWN, 2), min_size=7, max_size=7)
SPLITS = st.lists(st.integers(0, 6), min_size=7, max_size=7)
RESTARTED = st.frozensets(st.integers(1, 7), max_size=2)
QUICK = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@st.composite
def tie_breakers(draw: st.DrawFn) -> tuple[TieBreaker, tuple[int, ...]]:
    kind = draw(st.sampled_from([TieBreaker.LOWEST, TieBreaker.HIGHEST, TieBreaker.LIST]))
    nodes = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4, unique=True)) if kind is TieBreaker.LIST else []
    return kind, tuple(nodes)


@st.composite
def permitted_options(draw: st.DrawFn, votes: Sequence[int]) -> QuorumSettings:
    """What the consistency rules of votequorum(5) leave of any choice of options; expected votes are their sum."""
    total = sum(votes)
    two_node = draw(st.booleans())
    options = QuorumSettings(
        provider="corosync_votequorum",
        expected_votes=total,
        wait_for_all=draw(st.booleans()),
        last_man_standing=draw(st.booleans()),
        allow_downscale=draw(st.booleans()),
        expected_votes_tracking=draw(st.booleans()),
    )
    if draw(st.booleans()):
        breaker, nodes = draw(tie_breakers())
        odd = total % 2 == 1 and not options.wait_for_all
        assume(not (odd and options.last_man_standing))  # the configuration is refused
        if not odd:
            options = replace(options, tie_breaker=breaker, tie_breaker_nodes=nodes)
            two_node = False
    tracking = options.expected_votes_tracking or options.allow_downscale
    return replace(options, two_node=two_node, expected_votes_tracking=tracking)


# --- histories of any kind


@given(st.data(), VOTES, st.booleans(), st.booleans(), st.integers(0, 2))
@QUICK
def test_without_options_no_history_has_two_quorate_components(
    data: st.DataObject, votes: list[int], wait_for_all: bool, tracking: bool, surplus: int
) -> None:
    options = QuorumSettings(
        expected_votes=sum(votes) + surplus, wait_for_all=wait_for_all, expected_votes_tracking=tracking
    )
    _live_and_check(data, History(options, votes))


@given(st.data(), VOTES, st.integers(0, 2), tie_breakers(), st.booleans())
@QUICK
def test_tie_breaker_with_wait_for_all_is_safe_in_any_history(
    data: st.DataObject, votes: list[int], surplus: int, breaker: tuple[TieBreaker, tuple[int, ...]], tracking: bool
) -> None:
    options = QuorumSettings(
        expected_votes=sum(votes) + surplus,
        wait_for_all=True,
        tie_breaker=breaker[0],
        tie_breaker_nodes=breaker[1],
        expected_votes_tracking=tracking,
    )
    _live_and_check(data, History(options, votes))


def _live_and_check(data: st.DataObject, history: History) -> None:
    count = len(history.votes)
    if data.draw(st.booleans(), label="boot together"):
        history.step([0] * count)
    for _ in range(data.draw(st.integers(1, 6), label="steps")):
        places = data.draw(PLACES, label="places")[:count]
        if data.draw(st.integers(0, 4), label="interrupted") == 0:
            history.interrupted_step(places, data.draw(st.integers(0, 7), label="delivered"))
        else:
            restarted = data.draw(RESTARTED, label="restarted")
            history.step(places, restarted=restarted, backwards=data.draw(st.booleans(), label="backwards"))
            assert len(history.quorate()) <= 1, history.quorate()


# --- one split of a full cluster, and components that only shrink


@given(st.data(), VOTES, SPLITS)
@QUICK
def test_one_split_of_a_full_cluster_leaves_at_most_one_quorate_component(
    data: st.DataObject, votes: list[int], split: list[int]
) -> None:
    options = data.draw(permitted_options(votes))
    assume(not options.two_node)
    history = full_cluster(options, votes)
    assert history.quorate()
    history.step(split[: len(votes)], backwards=data.draw(st.booleans()))
    assert len(history.quorate()) <= 1


@given(st.data(), VOTES)
@QUICK
def test_components_that_only_shrink_never_give_two_quorate_ones(data: st.DataObject, votes: list[int]) -> None:
    """Every option but two_node, with windows that expire at any node at any time, and clean exits anywhere."""
    options = data.draw(permitted_options(votes))
    assume(not options.two_node)
    history = full_cluster(options, votes)
    for _ in range(data.draw(st.integers(1, 7), label="steps")):
        what = data.draw(st.sampled_from(["split", "window", "leave", "crash", "same"]), label="what")
        alive = sorted(history.nodes)
        if not alive:
            break
        one = data.draw(st.sampled_from(alive), label="node")
        places = [history.place[n] for n in history.votes]
        if what == "window":
            history.window_expires(one)
        elif what == "leave":
            history.leave(one)
        elif what == "crash":
            history.step([DOWN if n == one else places[n - 1] for n in history.votes])
        elif what == "same":
            history.step(places)
        else:
            halves = data.draw(SPLITS, label="halves")
            cut = [p if p == DOWN else p * 2 + h % 2 for p, h in zip(places, halves, strict=False)]
            history.step(cut)
        assert len(history.quorate()) <= 1, (what, history.quorate())


@given(VOTES, st.integers(0, 3), SPLITS, st.integers(0, 6), st.booleans())
@QUICK
def test_device_that_votes_for_one_component_adds_no_second_quorum(
    votes: list[int], device_votes: int, split: list[int], chosen: int, master_wins: bool
) -> None:
    options = QuorumSettings(expected_votes=sum(votes) + device_votes, device_model="net", device_votes=device_votes)
    history = full_cluster(options, votes)
    places = split[: len(votes)]
    for nodeid, place in enumerate(places, start=1):
        if place == chosen:
            cast = NODE_QDEVICE_CAST_VOTE
            history.nodes[nodeid] = history.nodes[nodeid].with_own_flags(set_=cast)
    history.step(places)
    assert len(history.quorate()) <= 1
    if master_wins and chosen in places and not history.quorate():
        # The device alone decides: whoever it favours is quorate.
        for nodeid in (n for n, place in enumerate(places, start=1) if place == chosen):
            history.nodes[nodeid] = history.nodes[nodeid].with_own_flags(set_=NODE_QDEVICE_MASTER_WINS)
        history.step(places)
        assert len(history.quorate()) == 1


@given(VOTES, SPLITS, st.booleans())
@QUICK
def test_two_node_lends_quorum_only_to_components_of_two_nodes_at_most(
    votes: list[int], split: list[int], wait_for_all: bool
) -> None:
    history = full_cluster(QuorumSettings(expected_votes=sum(votes), two_node=True, wait_for_all=wait_for_all), votes)
    history.step(split[: len(votes)])
    for members in history.quorate():
        assert len(members) <= 2 or 2 * sum(history.votes[n] for n in members) > sum(votes)


@given(st.data(), VOTES, st.booleans())
@QUICK
def test_wait_for_all_never_starts_before_all_votes_were_present(
    data: st.DataObject, votes: list[int], two_node: bool
) -> None:
    history = History(QuorumSettings(expected_votes=sum(votes), wait_for_all=True, two_node=two_node), votes)
    for _ in range(data.draw(st.integers(1, 5))):
        history.step(data.draw(PLACES)[: len(votes)])
        if any(sum(history.votes[n] for n in members) == sum(votes) for members in history.components()):
            return
        assert not history.quorate()


# --- what each option gives up: the table in `arithmetic`, line by line


def _ones(count: int, **options: object) -> QuorumSettings:
    return replace(QuorumSettings(expected_votes=count), **options)  # type: ignore[arg-type]


def test_expected_votes_below_the_sum_give_up_safety_until_the_nodes_have_met() -> None:
    apart = History(_ones(2), [1, 1, 1, 1])
    apart.step([0, 0, 1, 1])
    assert len(apart.quorate()) == 2
    met = full_cluster(_ones(2), [1, 1, 1, 1])
    met.step([0, 0, 1, 1])
    assert met.quorate() == []


@pytest.mark.parametrize(("tracking", "quorate_components"), [(False, 2), (True, 0)])
def test_tracking_remembers_raised_expected_votes_over_a_restart(tracking: bool, quorate_components: int) -> None:
    history = full_cluster(_ones(2, expected_votes_tracking=tracking), [1, 1, 1, 1])
    history.step([DOWN] * 4)
    history.step([0, 0, 1, 1])
    assert len(history.quorate()) == quorate_components


def test_expected_votes_set_in_one_component_are_unknown_in_the_other() -> None:
    history = full_cluster(_ones(5), [1] * 5)
    history.step([0, 0, 1, 1, 1])
    history.reconfigure((1, 2), RECONFIGURE_EXPECTED_VOTES, 2)
    assert history.quorate() == [(1, 2), (3, 4, 5)]


def test_votes_set_in_one_component_are_unknown_in_the_other() -> None:
    history = full_cluster(_ones(5), [1] * 5)
    history.step([0, 0, 1, 1, 1])
    history.reconfigure((1, 2), RECONFIGURE_NODE_VOTES, 9, nodeid=1)
    assert history.quorate() == [(1, 2), (3, 4, 5)]


def test_two_node_gives_quorum_to_both_halves() -> None:
    history = full_cluster(_ones(2, two_node=True, wait_for_all=True), [1, 1])
    history.step([0, 1])
    assert history.quorate() == [(1,), (2,)]


@pytest.mark.parametrize(("wait_for_all", "expected"), [(False, [(1, 4), (2, 3)]), (True, [(2, 3)])])
def test_tie_breaker_without_wait_for_all_remembers_different_breakers(
    wait_for_all: bool, expected: list[tuple[int, ...]]
) -> None:
    history = full_cluster(_ones(4, tie_breaker=TieBreaker.LOWEST, wait_for_all=wait_for_all), [1] * 4)
    history.step([0, 1, 1, 1])
    history.step([0, 1, 1, 2])
    history.step([0, 1, 1, 0])
    assert history.quorate() == expected


@pytest.mark.parametrize(("wait_for_all", "quorate_components"), [(False, 2), (True, 0)])
def test_tie_breaker_list_without_wait_for_all_lets_halves_boot_apart(
    wait_for_all: bool, quorate_components: int
) -> None:
    options = _ones(4, tie_breaker=TieBreaker.LIST, tie_breaker_nodes=(1, 3), wait_for_all=wait_for_all)
    history = History(options, [1] * 4)
    history.step([0, 0, 1, 1])
    assert len(history.quorate()) == quorate_components


@pytest.mark.parametrize("backwards", [False, True])
def test_part_that_lost_quorum_is_not_completed_by_a_node_from_outside(backwards: bool) -> None:
    """Nodes 3 and 4 alone are a minority; that they meet node 5 in the same change must not hide it."""
    history = full_cluster(_ones(5, tie_breaker=TieBreaker.LOWEST, wait_for_all=True), [1] * 5)
    history.step([0, 0, 0, 0, 1])
    history.step([0, 0, 1, 1, 1], backwards=backwards)
    assert history.quorate() == [(1, 2)]


def test_tie_breaker_counts_the_votes_of_the_absent_not_their_number() -> None:
    history = full_cluster(_ones(5, tie_breaker=TieBreaker.LOWEST, wait_for_all=True), [2, 2, 1])
    history.step([0, 1, 1])
    assert history.quorate() == [(2, 3)]


@pytest.mark.parametrize("wait_for_all", [False, True])
def test_last_man_standing_forgets_those_cut_off(wait_for_all: bool) -> None:
    history = full_cluster(_ones(8, last_man_standing=True, wait_for_all=wait_for_all), [1] * 8)
    history.step([0, 0, 0, 0, 0, 1, 1, 1])
    for nodeid in range(1, 6):
        history.window_expires(nodeid)
    history.step([0, 0, 0, 2, 2, 1, 1, 1])
    history.step([0, 0, 0, 1, 1, 1, 1, 1])
    assert history.quorate() == [(1, 2, 3), (4, 5, 6, 7, 8)]


def test_allow_downscale_forgets_those_cut_off_and_those_that_come_back_elsewhere() -> None:
    options = _ones(1, allow_downscale=True, expected_votes_tracking=True)
    history = full_cluster(options, [1] * 5)
    history.step([0, 0, 0, 0, 1])
    history.leave(4)
    history.step([0, 0, 1, 1, 1])
    assert history.quorate() == [(1, 2), (3, 4, 5)]


def test_clean_exits_do_not_make_an_inquorate_component_quorate() -> None:
    history = full_cluster(_ones(1, allow_downscale=True, expected_votes_tracking=True), [1] * 4)
    history.step([0, 0, 1, 1])
    history.leave(2)
    history.leave(4)
    assert history.quorate() == []


# --- the man page's stories and the rules one by one


def test_last_man_standing_story_of_the_man_page() -> None:
    history = full_cluster(_ones(8, last_man_standing=True), [1] * 8)
    seen = []
    for survivors in (5, 3, 2):
        history.step([0] * survivors + [DOWN] * (8 - survivors))
        assert opens_window(history.nodes[1])
        for nodeid in range(1, survivors + 1):
            history.window_expires(nodeid)
        seen.append((history.nodes[1].own.expected_votes, history.nodes[1].quorum))
    assert seen == [(5, 3), (3, 2), (2, 2)]
    history.step([0] + [DOWN] * 7)
    assert history.quorate() == []


def test_last_man_standing_ends_when_a_node_has_more_than_one_vote() -> None:
    history = full_cluster(_ones(4, last_man_standing=True), [1, 1, 2])
    history.step([0, DOWN, 0])
    assert not opens_window(history.nodes[1])
    history.window_expires(1)
    assert history.nodes[1].own.expected_votes == 4


def test_allow_downscale_story_of_the_man_page() -> None:
    options = _ones(3, allow_downscale=True, expected_votes_tracking=True)
    history = History(options, [1] * 7)
    history.step([0, 0, 0] + [DOWN] * 4)
    assert history.nodes[1].quorum == 2
    history.step([0] * 7)
    assert (history.nodes[1].own.expected_votes, history.nodes[1].quorum) == (7, 4)
    for nodeid in (7, 6, 5, 4):
        history.leave(nodeid)
    assert (history.nodes[1].own.expected_votes, history.nodes[1].quorum) == (3, 2)
    history.leave(3)
    # Only quorum keeps to the barrier; corosync, too, expects two from here on.
    assert (history.nodes[1].own.expected_votes, history.nodes[1].quorum) == (2, 2)
    assert history.quorate() == [(1, 2)]


@pytest.mark.parametrize(
    ("expected", "present", "quorum"), [(1, 1, 1), (2, 2, 2), (3, 3, 2), (4, 3, 3), (32, 32, 17), (1000, 1, 501)]
)
def test_quorum_is_half_plus_one_and_not_cut_to_eight_bits(expected: int, present: int, quorum: int) -> None:
    electorate = first_electorate(QuorumSettings(expected_votes=expected), 1)
    for nodeid in range(2, present + 1):
        electorate = electorate.with_voter(Voter(nodeid, VoterState.MEMBER, 1, expected, 0))
    assert calculate_quorum(electorate, allow_decrease=False) == quorum
    assert recalculate(electorate).quorate == (present >= quorum)


@given(VOTES, st.integers(1, 40), st.integers(0, 10))
def test_quorum_never_falls_by_itself(votes: list[int], expected: int, before: int) -> None:
    electorate = replace(first_electorate(QuorumSettings(expected_votes=expected), 1), quorum=before)
    assert calculate_quorum(electorate, allow_decrease=False) >= before
    assert calculate_quorum(electorate, allow_decrease=True) == max((expected + 2) // 2, 1)


def test_newcomer_takes_the_expected_votes_of_the_quorate() -> None:
    history = full_cluster(_ones(3), [1, 1, 1])
    history.reconfigure((1, 2, 3), RECONFIGURE_EXPECTED_VOTES, 5)
    history.step([0, 0, DOWN])
    history.reconfigure((1, 2), RECONFIGURE_EXPECTED_VOTES, 3)
    history.step([0, 0, 0])
    assert {e.own.expected_votes for e in history.nodes.values()} == {3}
    assert {e.quorum for e in history.nodes.values()} == {2}


def test_wait_for_all_ends_when_the_operator_cancels_it() -> None:
    history = History(_ones(3, wait_for_all=True), [1, 1, 1])
    history.step([0, 0, DOWN])
    assert history.quorate() == []
    history.reconfigure((1, 2), RECONFIGURE_CANCEL_WAIT_FOR_ALL)
    assert history.quorate() == [(1, 2)]
    assert all(e.quorate for e in history.nodes.values())


def test_restarted_node_need_not_wait_for_all_when_others_are_quorate() -> None:
    history = full_cluster(_ones(4, wait_for_all=True), [1] * 4)
    history.step([0, 0, 0, DOWN])
    history.step([0, 0, DOWN, DOWN])
    assert history.quorate() == []
    history.step([0, 0, 0, 0])
    history.step([0, 0, 0, DOWN])
    history.step([DOWN, 0, 0, 0])
    assert all(e.quorate for e in history.nodes.values()) is False
    history.step([0, 0, 0, 0])
    history.step([0, 0, 0, DOWN])
    history.step([0, 0, 0, 0])
    assert all(e.quorate for e in history.nodes.values())


@pytest.mark.parametrize("survivors", list(combinations(range(1, 7), 3)))
def test_equal_halves_are_decided_by_the_breaker(survivors: tuple[int, ...]) -> None:
    split = [0 if n in survivors else 1 for n in range(1, 7)]
    for breaker, nodes, winner in (
        (TieBreaker.LOWEST, (), 1),
        (TieBreaker.HIGHEST, (), 6),
        (TieBreaker.LIST, (9, 4, 1), 4),
    ):
        history = full_cluster(_ones(6, tie_breaker=breaker, tie_breaker_nodes=nodes), [1] * 6)
        history.step(split)
        assert [winner in members for members in history.quorate()] == [True]


def test_operator_may_not_set_what_would_hurt() -> None:
    history = full_cluster(_ones(5), [1] * 5)
    whole = history.nodes[1]
    assert [may_expect(whole, n) for n in (0, 4, 5, 9, 10)] == [False, False, True, True, False]
    history.step([0, 0, 1, 1, 1])
    assert [may_expect(history.nodes[1], n) for n in (1, 2, 4, 100)] == [False, True, True, True]
    assert may_have_votes(whole, replace(whole.own, votes=3))
    assert not may_have_votes(history.nodes[1], replace(history.nodes[1].own, votes=0))


def test_reload_changes_two_node_and_wait_for_all_with_it_but_does_not_make_a_quorate_node_wait() -> None:
    history = full_cluster(_ones(2), [1, 1])
    changed = apply_settings(history.nodes[1], _ones(2, two_node=True, wait_for_all=True))
    assert changed.settings.two_node
    assert changed.settings.wait_for_all
    assert not changed.waiting_for_all
    assert recalculate(enter_configuration(changed, (1,))).quorate
    fixed = apply_settings(history.nodes[1], _ones(2, last_man_standing=True))
    assert not fixed.settings.last_man_standing


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_no_number_from_a_peer_breaks_the_rules(nodeid: int, votes: int, expected: int, flags: int) -> None:
    electorate = full_cluster(_ones(3), [1, 1, 1]).nodes[1]
    after = apply_nodeinfo(electorate, nodeid, NodeInfo(nodeid, votes, expected, flags))
    after = apply_reconfigure(after, Reconfigure(nodeid, votes, flags % 256))
    assert after.own.nodeid == 1
    assert list(after.voters) == sorted(after.voters, key=lambda voter: voter.nodeid)


def test_every_two_disjoint_subsets_of_seven_votes() -> None:
    """The static arithmetic, exhaustively: no two disjoint sets of seven equal nodes both have a quorum."""
    quorate = []
    for size in range(1, 8):
        for members in combinations(range(1, 8), size):
            history = History(_ones(7), [1] * 7)
            history.step([0 if n in members else DOWN for n in range(1, 8)])
            if history.quorate():
                quorate.append(set(members))
    assert not any(a.isdisjoint(b) for a, b in combinations(quorate, 2))
    assert len(quorate) == 64
