"""The checkers find what is wrong, and nothing else: small histories by hand, and corruptions of correct ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordered_cluster import OrderedCluster
from totemd.ids import RingId
from totemd.sim.checkers import ALL, FINDINGS_MAX, check_all
from totemd.sim.checkers.chronicle import Span, read
from totemd.sim.history import (
    Accepted,
    Calm,
    ChangeAnswered,
    Configured,
    Delivered,
    End,
    Ended,
    Event,
    GroupChanged,
    History,
    Limits,
    Measured,
    QuorumChanged,
    Started,
    Synchronized,
    VersionInForce,
    Violation,
)
from totemd.totem.api import ConfigurationKind

LIMITS = Limits()
REGULAR, TRANSITIONAL = ConfigurationKind.REGULAR, ConfigurationKind.TRANSITIONAL


def properties(history: History, limits: Limits = LIMITS) -> set[str]:
    return {violation.property for violation in check_all(history, limits)}


def find(history: History, name: str) -> list[Violation]:
    return [violation for violation in check_all(history, LIMITS) if violation.property == name]


def in_one_ring(size: int = 3) -> OrderedCluster:
    """Nodes 1 to `size` in one ring, all in the group."""
    cluster = OrderedCluster(size)
    for node in range(1, size + 1):
        cluster.start(node)
    cluster.form(range(1, size + 1))
    for node in range(1, size + 1):
        cluster.deliver(node)
    return cluster


def deliver_all(cluster: OrderedCluster) -> None:
    for node in sorted(cluster.alive):
        cluster.deliver(node)


def deliveries(history: History, node: int | None = None) -> list[Delivered]:
    return [event for event in history if isinstance(event, Delivered) and node in (None, event.node)]


# The list


def test_each_property_has_a_name_and_a_sentence_of_its_own() -> None:
    assert len({checker.name for checker in ALL}) == len({checker.anchor for checker in ALL}) == len(ALL)


def test_an_empty_history_breaks_nothing() -> None:
    assert check_all([], LIMITS) == []


def test_one_checker_does_not_flood_the_others() -> None:
    cluster = in_one_ring(2)
    for _ in range(100):
        cluster.send(1)
    deliver_all(cluster)
    history: History = [event for event in cluster.history if not isinstance(event, Accepted)]
    assert len(find(history, "integrity")) == FINDINGS_MAX


# By hand: what passes


def test_a_late_recorder_proves_nothing_and_is_told_nothing() -> None:
    """A client of a daemon that has been in a ring for a while: no Started, no Configured, no join at first."""
    cluster = in_one_ring()
    cluster.send(1)
    cluster.send(2, safe=True)
    deliver_all(cluster)
    begin = len(cluster.history)
    for node in (1, 2, 3):
        cluster.send(node)
    deliver_all(cluster)
    cluster.crash(3)
    cluster.form((1, 2))
    deliver_all(cluster)
    assert check_all(cluster.history[begin:], LIMITS) == []


def test_a_member_that_crashes_needs_not_deliver_what_is_safe() -> None:
    cluster = in_one_ring()
    cluster.send(1, safe=True)
    cluster.deliver(1)
    cluster.crash(3)
    cluster.form((1, 2))
    assert check_all(cluster.history, LIMITS) == []


def test_a_minority_may_be_late() -> None:
    """1 and 2 leave 3 behind, which says quorate of the old ring until it has formed its own."""
    cluster = in_one_ring()
    cluster.form((1, 2))
    cluster.form((3,))
    assert check_all(cluster.history, LIMITS) == []


def test_accepted_may_be_recorded_after_the_delivery() -> None:
    cluster = in_one_ring(2)
    cluster.send(1)
    accepted = cluster.history.pop()
    deliver_all(cluster)
    assert check_all([*cluster.history, accepted], LIMITS) == []


# By hand: what does not


def test_other_order_at_another_life() -> None:
    cluster = in_one_ring(2)
    cluster.send(1)
    cluster.send(2)
    deliver_all(cluster)
    history = cluster.history
    one, two = (history.index(event) for event in deliveries(history, 2))
    history[one], history[two] = history[two], history[one]
    found = find(history, "agreed order")
    assert len(found) == 1
    assert "(1, 0) before (2, 0) at life 1" in found[0].text


def test_a_circle_of_three_is_no_order() -> None:
    """Any two lives have one message in common only, so no two of them disagree."""
    events: History = [Accepted(0.0, life, life, (life, 0), False) for life in (1, 2, 3)]
    for life, (first, second) in {1: (1, 2), 2: (2, 3), 3: (3, 1)}.items():
        for sender in (first, second):
            events.append(Delivered(1.0, life, life, (sender, 0), (sender, sender), False, b""))
    assert "agreed order" in properties(events)


def test_one_of_two_quorate_components() -> None:
    cluster = in_one_ring(4)
    cluster.form((1, 2))
    cluster.form((3, 4))
    assert check_all(cluster.history, LIMITS) == []
    history = [replace(e, quorate=True) if isinstance(e, QuorumChanged) else e for e in cluster.history]
    assert properties(history) == {"one quorate"}
    assert check_all(history, Limits(quorum_gives_up="two_node")) == []


def test_a_quorate_component_that_ended_does_not_count() -> None:
    cluster = in_one_ring(4)
    cluster.form((1, 2))
    for node in (1, 2):
        cluster.crash(node)
    cluster.form((3, 4))
    history = [replace(e, quorate=True) if isinstance(e, QuorumChanged) else e for e in cluster.history]
    assert check_all(history, LIMITS) == []


def test_a_ring_number_that_was_forgotten() -> None:
    cluster = in_one_ring(2)
    cluster.crash(1)
    cluster.history.append(Started(cluster.tick(), 1, 9, 0))
    assert properties(cluster.history) == {"ring ids grow"}


def test_safe_message_that_a_member_goes_on_without() -> None:
    cluster = in_one_ring()
    cluster.send(1, safe=True)
    deliver_all(cluster)
    cluster.form((1, 2))
    cluster.form((3,))
    history = cluster.history
    history.remove(deliveries(history, 3)[0])
    assert properties(history) == {"safe delivery"}


def test_safe_message_of_a_ring_that_a_member_never_was_in() -> None:
    cluster = in_one_ring()
    cluster.send(1, safe=True)
    cluster.deliver(1)
    cluster.form((3,))
    ring = RingId(1, 4)
    history = [e for e in cluster.history if not (isinstance(e, Configured) and e.node == 3 and e.ring == ring)]
    assert "safe delivery" in properties(history)


def test_a_message_that_only_one_of_two_companions_has() -> None:
    cluster = in_one_ring()
    cluster.send(3)
    cluster.deliver(1)
    cluster.crash(3)
    cluster.form((1, 2))
    history = cluster.history
    history.remove(deliveries(history, 2)[0])
    assert properties(history) == {"virtual synchrony"}


def test_who_joins_late_is_held_to_what_it_has_heard() -> None:
    cluster = in_one_ring(2)
    cluster.start(3)
    cluster.form((1, 2, 3))
    cluster.send(1)
    cluster.deliver(3)
    cluster.send(2)
    deliver_all(cluster)
    cluster.form((1, 2, 3))
    assert check_all(cluster.history, LIMITS) == []
    history = cluster.history
    history.remove(next(event for event in deliveries(history, 3) if event.message == (2, 0)))
    assert properties(history) >= {"virtual synchrony"}


@pytest.mark.parametrize(("word", "fine"), [("procdown", True), ("nodedown", False)])
def test_a_synchronization_that_got_as_far_as_the_groups(word: str, fine: bool) -> None:
    """Node 2 was away and is back; the next ring comes before synchronization ends, and its process is gone."""
    again, last = RingId(1, 12), RingId(1, 16)
    first = [
        *_configured(1, again, (1, 2), of=(1,)),
        _gone(1, 2, "nodedown"),
        GroupChanged(5.0, 1, 1, ((1, 1), (2, 2)), ((2, 2, "nodeup"),), ()),
        *_configured(1, last, (1, 2), of=(1, 2)),
        _gone(1, 2, word),
    ]
    found = [violation.property for violation in check_all(_pair(first=first, second=[]), LIMITS)]
    assert ("reasons" not in found) is fine


def test_two_views_at_the_same_message() -> None:
    cluster = in_one_ring()
    cluster.part(3)
    cluster.send(1)
    deliver_all(cluster)
    history = cluster.history
    leave = next(e for e in history if isinstance(e, GroupChanged) and e.node == 2 and e.left)
    history.remove(leave)
    history.append(leave)
    assert properties(history) == {"same views"}


def test_delivery_before_synchronization() -> None:
    cluster = in_one_ring(2)
    cluster.form((1, 2))
    cluster.send(1)
    deliver_all(cluster)
    history = cluster.history
    for node in (1, 2):
        event = deliveries(history, node)[0]
        history.remove(event)
        at = max(i for i, e in enumerate(history) if isinstance(e, Synchronized) and e.node == node)
        history.insert(at - 1, event)
    assert properties(history) == {"synchronized service"}


def test_too_much() -> None:
    history: History = [Started(0.0, 1, 1, 0), Measured(1.0, 1, 1, "queue", 10, 10)]
    assert check_all(history, LIMITS) == []
    history.append(Measured(2.0, 1, 1, "queue", 11, 10))
    assert properties(history) == {"bounds"}


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (lambda e: isinstance(e, Synchronized) and e.ring.seq == 8 and e.node == 2, "one ring"),
        (lambda e: isinstance(e, Delivered) and e.message == (1, 1) and e.node == 1, "all delivered"),
        (lambda e: isinstance(e, Delivered) and e.message == (2, 0) and e.node == 1, "all delivered"),
        (lambda e: isinstance(e, Configured) and e.ring.seq == 8 and e.node == 1, "one ring"),
    ],
)
def test_what_must_happen_in_the_end(cut: Callable[[Event], bool], expected: str) -> None:
    cluster = in_one_ring()
    cluster.send(1)
    deliver_all(cluster)
    cluster.calm()
    cluster.send(1)
    cluster.send(2)
    deliver_all(cluster)
    assert check_all(cluster.history, LIMITS) == []
    assert expected in properties([event for event in cluster.history if not cut(event)])


def test_a_node_that_is_missing_in_the_end() -> None:
    cluster = in_one_ring()
    cluster.calm()
    cluster.crash(2)
    assert "one ring" in properties(cluster.history)


def test_a_leave_that_ends_after_the_calm_is_no_failure() -> None:
    cluster = in_one_ring()
    cluster.note(Calm(cluster.tick(), (1, 2, 3)))
    cluster.crash(2, End.LEAVE)
    cluster.form((1, 3))
    assert check_all(cluster.history, LIMITS) == []


# For each property one of the smallest histories that break it: (before, after) differ in that only

RING, NEXT = RingId(1, 4), RingId(1, 8)


def _configured(life: int, ring: RingId, members: tuple[int, ...], *, of: tuple[int, ...] = ()) -> History:
    """The two configurations at life `life` of the node of that number, which comes from a ring of all with `of`."""
    joined = tuple(node for node in members if node not in of)
    before = (1, 2) if of else ()
    left = tuple(node for node in before if node not in of)
    return [
        Configured(1.0, life, life, TRANSITIONAL, ring, of, (), left),
        Configured(1.0, life, life, REGULAR, ring, members, joined, ()),
    ]


def _joined(life: int, *others: int) -> GroupChanged:
    members = tuple(sorted((node, node) for node in (life, *others)))
    return GroupChanged(2.0, life, life, members, ((life, life, "join"),), ())


def _accepted(life: int, *numbers: int, safe: bool = False) -> History:
    return [Accepted(3.0, life, life, (life, number), safe) for number in numbers]


def _delivered(life: int, sender: int, *numbers: int, safe: bool = False) -> History:
    return [Delivered(4.0, life, life, (sender, n), (sender, sender), safe, b"%d" % n) for n in numbers]


def _synchronized(life: int, ring: RingId, members: tuple[int, ...], *, quorate: bool = True) -> History:
    return [QuorumChanged(1.5, life, life, quorate, ring, members), Synchronized(1.5, life, life, ring)]


def _pair(*, first: History, second: History) -> History:
    """Nodes 1 and 2 in one ring; 2 is in the group, then 1 joins; what either hears after that."""
    events: History = []
    for life in (1, 2):
        events += [*_configured(life, RING, (1, 2)), *_synchronized(life, RING, (1, 2))]
    seen = GroupChanged(2.0, 2, 2, ((1, 1), (2, 2)), ((1, 1, "join"),), ())
    return [*events, _joined(2), seen, _joined(1, 2), *first, *second]


def _together(life: int) -> History:
    return _configured(life, NEXT, (1, 2), of=(1, 2))


def _alone(life: int) -> History:
    return _configured(life, RingId(life, 8), (life,), of=(life,))


def _gone(life: int, other: int, word: str) -> GroupChanged:
    return GroupChanged(5.0, life, life, ((life, life),), (), ((other, other, word),))


def _calm(*events: Event) -> History:
    return [*events, Calm(1.0, (1, 2))]


def _version(life: int, version: int, content: bytes = b"a", *, time: float = 0.5) -> VersionInForce:
    """A version in force at life `life`, made from the one before."""
    return VersionInForce(time, life, life, version, content * version, version, content * version, version - 1)


def _with_versions(first: History, second: History) -> History:
    """Nodes 1 and 2 in one ring, both with version 1 from the start; what follows in it."""
    events: History = [_version(1, 1), _version(2, 1)]
    for life in (1, 2):
        events += [*_configured(life, RING, (1, 2)), *_synchronized(life, RING, (1, 2))]
    return [*events, *first, *second]


_TWO_AT_3: History = [*_accepted(1, 0), *_accepted(2, 0), *_delivered(3, 1, 0), *_delivered(3, 2, 0)]
_SENT: History = [_joined(1), *_accepted(1, 0), *_delivered(1, 1, 0)]

MINIMAL: dict[str, tuple[History, History]] = {
    "integrity": (_accepted(1, 0) + _delivered(1, 1, 0), _accepted(1, 0) + _delivered(1, 1, 0, 0)),
    "self-delivery": (
        _accepted(1, 0, 1) + _delivered(1, 1, 0, 1),
        _accepted(1, 0, 1) + _delivered(1, 1, 1),
    ),
    "agreed order": (
        [*_TWO_AT_3, *_delivered(4, 1, 0), *_delivered(4, 2, 0)],
        [*_TWO_AT_3, *_delivered(4, 2, 0), *_delivered(4, 1, 0)],
    ),
    "no gaps": (
        _pair(first=_accepted(2, 0, 1) + _delivered(1, 2, 0, 1), second=_delivered(2, 2, 0, 1)),
        _pair(first=_accepted(2, 0, 1) + _delivered(1, 2, 1), second=_delivered(2, 2, 0, 1)),
    ),
    "one configuration": (
        _pair(first=_accepted(2, 0) + _delivered(1, 2, 0), second=_delivered(2, 2, 0)),
        _pair(first=_accepted(2, 0) + _delivered(1, 2, 0), second=_alone(2) + _delivered(2, 2, 0)),
    ),
    "virtual synchrony": (
        _pair(first=_accepted(2, 0) + _delivered(1, 2, 0) + _together(1), second=_delivered(2, 2, 0) + _together(2)),
        _pair(first=_accepted(2, 0) + _together(1), second=_delivered(2, 2, 0) + _together(2)),
    ),
    "safe delivery": (
        _pair(
            first=_accepted(2, 0, safe=True) + _delivered(1, 2, 0, safe=True) + _alone(1),
            second=_delivered(2, 2, 0, safe=True) + _alone(2),
        ),
        _pair(
            first=_accepted(2, 0, safe=True) + _alone(1),
            second=_delivered(2, 2, 0, safe=True) + _alone(2),
        ),
    ),
    "transitional first": (
        _configured(1, RING, (1, 2)) + _configured(1, NEXT, (1,), of=(1,)),
        _configured(1, RING, (1, 2)) + _configured(1, NEXT, (1,), of=(1,))[1:],
    ),
    "transitional members": (
        _configured(1, RING, (1, 2)) + _configured(2, RING, (1, 2)) + _together(1) + _together(2),
        _configured(1, RING, (1, 2))
        + _configured(2, RING, (1, 2))
        + _together(1)
        + _configured(2, NEXT, (1, 2), of=(2,)),
    ),
    "ring ids grow": (
        _configured(1, RING, (1, 2)) + _configured(1, NEXT, (1,), of=(1,)),
        _configured(1, NEXT, (1, 2)) + _configured(1, RING, (1,), of=(1,)),
    ),
    "one membership": (
        _configured(1, RING, (1, 2)) + _configured(2, RING, (1, 2)),
        _configured(1, RING, (1, 2)) + _configured(2, RING, (1, 2, 3)),
    ),
    "synchronized service": (
        [*_configured(1, RING, (1,)), *_synchronized(1, RING, (1,)), *_SENT],
        [*_configured(1, RING, (1,)), *_SENT],
    ),
    "views follow": ([_joined(1, 2), _gone(1, 2, "leave")], [_joined(1, 2), _gone(1, 3, "leave")]),
    "same views": (
        _pair(first=_accepted(2, 0) + _delivered(1, 2, 0), second=_delivered(2, 2, 0)),
        _pair(first=[_gone(1, 2, "leave"), *_accepted(2, 0), *_delivered(1, 2, 0)], second=_delivered(2, 2, 0)),
    ),
    "reasons": (
        _pair(first=[*_configured(1, NEXT, (1,), of=(1,)), _gone(1, 2, "nodedown")], second=[]),
        _pair(first=[*_configured(1, NEXT, (1,), of=(1,)), _gone(1, 2, "procdown")], second=[]),
    ),
    "one quorate": (
        _pair(
            first=[*_alone(1), _gone(1, 2, "nodedown"), *_synchronized(1, RingId(1, 8), (1,))],
            second=[*_alone(2), _gone(2, 1, "nodedown"), *_synchronized(2, RingId(2, 8), (2,), quorate=False)],
        ),
        _pair(
            first=[*_alone(1), _gone(1, 2, "nodedown"), *_synchronized(1, RingId(1, 8), (1,))],
            second=[*_alone(2), _gone(2, 1, "nodedown"), *_synchronized(2, RingId(2, 8), (2,))],
        ),
    ),
    "verdict in ring": (
        [*_configured(1, RING, (1,)), *_synchronized(1, RING, (1,))],
        [*_configured(1, RING, (1,)), *_synchronized(1, RING, (1, 2))],
    ),
    "one ring": (
        _pair(first=_calm(), second=[]),
        _pair(first=_calm(), second=[*_configured(2, NEXT, (2,), of=(2,))]),
    ),
    "all delivered": (
        _pair(first=_calm(*_accepted(2, 0), *_delivered(1, 2, 0)), second=_delivered(2, 2, 0)),
        _pair(first=_calm(*_accepted(2, 0), *_delivered(1, 2, 0)), second=[]),
    ),
    "one history": (
        [_version(1, 1), _version(1, 2), _version(2, 2)],
        [_version(1, 1), _version(1, 2), _version(2, 2, b"b")],
    ),
    "one version": (
        _with_versions([_version(1, 2, time=2), _version(1, 3, time=3)], [_version(2, 2, time=2)]),
        _with_versions([_version(1, 2, time=2), _version(1, 3, time=3)], [_version(2, 3, time=2)]),
    ),
    "answers hold": (
        [_version(1, 1), ChangeAnswered(1.0, 1, 1, b"aa", 0, "refused")],
        [_version(1, 1), ChangeAnswered(1.0, 1, 1, b"a", 0, "refused")],
    ),
    "bounds": ([Measured(1.0, 1, 1, "queue", 10, 10)], [Measured(1.0, 1, 1, "queue", 11, 10)]),
}


def test_each_property_can_be_broken() -> None:
    assert set(MINIMAL) == {checker.name for checker in ALL}


@pytest.mark.parametrize("name", MINIMAL)
def test_the_smallest_difference(name: str) -> None:
    kept, broken = MINIMAL[name]
    assert properties(kept) == set()
    assert name in properties(broken)


# Correct histories pass; corrupted ones do not


def random_history(seed: int) -> History:
    """A correct history, drawn."""
    random = Random(seed)
    cluster = in_one_ring(random.randint(2, 5))
    for _ in range(random.randint(5, 40)):
        node = random.randint(1, cluster.size)
        member = cluster.alive.get(node)
        match random.choice(("send", "send", "send", "deliver", "deliver", "deliver", "form", "group", "life")):
            case "send" if member is not None and member.ring is not None and member.entered:
                cluster.send(node, safe=random.random() < 0.3)
            case "deliver" if member is not None and member.ring is not None:
                cluster.deliver(node, random.choice((None, 1, 3)))
            case "form" if cluster.alive:
                cluster.form(random.sample(sorted(cluster.alive), random.randint(1, len(cluster.alive))))
            case "group" if member is not None and member.ring is not None and member.entered == member.joined:
                (cluster.part if member.entered else cluster.join)(node)
            case "life" if random.random() < 0.5:
                if member is None:
                    cluster.start(node)
                else:
                    cluster.crash(node, random.choice((End.CRASH, End.LEAVE)))
    if not cluster.alive:
        cluster.start(1)
    cluster.calm()
    for node in sorted(cluster.alive):
        if cluster.alive[node].entered:
            cluster.send(node)
    deliver_all(cluster)
    return cluster.history


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_correct_histories_pass(seed: int) -> None:
    assert check_all(random_history(seed), LIMITS) == []


Corruption = Callable[[History, Random], "History | None"]
"""Makes a history wrong in one place; None: nothing in it can be made wrong so."""


def _at(history: History, random: Random, wanted: Callable[[Event], bool]) -> int | None:
    places = [index for index, event in enumerate(history) if wanted(event)]
    return random.choice(places) if places else None


def _replaced(history: History, at: int | None, change: Callable[[Any], Event]) -> History | None:
    return None if at is None else [*history[:at], change(history[at]), *history[at + 1 :]]


def _is_delivery(event: Event) -> bool:
    return isinstance(event, Delivered)


def _drop(history: History, random: Random) -> History | None:
    """A delivery is missing of a life that goes on with another one that has it, or with whom it is in the end. (Where
    a process left in the ring, it may not be known from where on it is to be held to anything.)"""
    has: Counter[tuple[object, object]] = Counter()
    heard: list[tuple[object, Delivered]] = []
    for story in read(history).stories.values():
        for span in story.spans:
            if span.last_piece is not None and not _ended(history, span):
                following = None if span.following is None else span.following.ring
                if not span.last_piece.parted:
                    heard += [(following, event) for event in span.last_piece.all()]
    has.update((following, event.message) for following, event in heard)
    candidates = {id(event) for following, event in heard if has[following, event.message] > 1}
    at = _at(history, random, lambda e: id(e) in candidates)
    return None if at is None else history[:at] + history[at + 1 :]


def _ended(history: History, event: Event | Span) -> bool:
    """Whether its life has ended, in that span."""
    if isinstance(event, Span):
        return event.following is None and event.story.ended is not None
    life = getattr(event, "life", None)
    return any(isinstance(other, Ended) and other.life == life for other in history)


def _own_drop(history: History, random: Random) -> History | None:
    """A life lacks a message of its own, and lives to the end."""

    def own(event: Event) -> bool:
        return isinstance(event, Delivered) and event.message[0] == event.life and not _ended(history, event)

    at = _at(history, random, own)
    return None if at is None else history[:at] + history[at + 1 :]


def _duplicate(history: History, random: Random) -> History | None:
    at = _at(history, random, _is_delivery)
    return None if at is None else history[: at + 1] + history[at:]


def _swap(history: History, random: Random) -> History | None:
    """A life delivers two messages the other way round that some other life delivers as well."""
    pairs = []
    last: dict[int, int] = {}
    for index, event in enumerate(history):
        if isinstance(event, Delivered):
            before = last.get(event.life)
            if before is not None:
                pairs.append((before, index))
            last[event.life] = index
    seen: dict[tuple[object, object], int] = {}
    for before, index in pairs:
        seen[_message(history[before]), _message(history[index])] = (
            seen.get((_message(history[before]), _message(history[index])), 0) + 1
        )
    shared = [pair for pair in pairs if seen[_message(history[pair[0]]), _message(history[pair[1]])] > 1]
    if not shared:
        return None
    one, two = random.choice(shared)
    corrupted = list(history)
    corrupted[one], corrupted[two] = history[two], history[one]
    return corrupted


def _message(event: Event) -> object:
    assert isinstance(event, Delivered)
    return event.message


def _foreign(history: History, random: Random) -> History | None:
    return _replaced(history, _at(history, random, _is_delivery), lambda e: replace(e, message=(77, 0)))


def _other_bytes(history: History, random: Random) -> History | None:
    """One of several deliveries of a message has other bytes."""
    times: dict[object, int] = {}
    for event in deliveries(history):
        times[event.message] = times.get(event.message, 0) + 1
    at = _at(history, random, lambda e: isinstance(e, Delivered) and times[e.message] > 1)
    return _replaced(history, at, lambda e: replace(e, digest=b"other"))


def _other_guarantee(history: History, random: Random) -> History | None:
    at = _at(history, random, _is_delivery)
    return _replaced(history, at, lambda e: replace(e, safe=not e.safe) if isinstance(e, Delivered) else e)


def _other_sender(history: History, random: Random) -> History | None:
    return _replaced(history, _at(history, random, _is_delivery), lambda e: replace(e, sender=(99, 99)))


def _other_members(history: History, random: Random) -> History | None:
    """A regular configuration has a member less than at the others."""

    def shared(event: Event) -> bool:
        return isinstance(event, Configured) and event.kind is REGULAR and len(event.members) > 1

    return _replaced(history, _at(history, random, shared), _without_last_member)


def _without_last_member(event: Event) -> Event:
    assert isinstance(event, Configured)
    return replace(event, members=event.members[:-1])


def _no_transition(history: History, random: Random) -> History | None:
    """A transitional configuration is missing, and it is not the life's first."""

    def later(event: Event) -> bool:
        return isinstance(event, Configured) and event.kind is TRANSITIONAL and bool(event.members)

    at = _at(history, random, later)
    return None if at is None else history[:at] + history[at + 1 :]


def _old_ring(history: History, random: Random) -> History | None:
    """A node installs a ring whose number it has had."""
    at = _at(history, random, lambda e: isinstance(e, Configured) and e.kind is REGULAR and bool(e.joined or e.left))
    return _replaced(history, at, lambda e: replace(e, ring=RingId(1, 1)))


def _view_without(history: History, random: Random) -> History | None:
    """A change of the view is not told to a process that is told of a later one."""
    changes = [i for i, e in enumerate(history) if isinstance(e, GroupChanged)]
    lives = [history[i].life for i in changes]  # type: ignore[union-attr]
    places = []
    for position, index in enumerate(changes):
        event = history[index]
        assert isinstance(event, GroupChanged)
        own = any(process[:2] == (event.node, event.life) for process in (*event.joined, *event.left))
        if not own and event.life in lives[position + 1 :]:
            places.append(index)
    if not places:
        return None
    at = random.choice(places)
    return history[:at] + history[at + 1 :]


def _late_synchronization(history: History, random: Random) -> History | None:
    """That a ring is synchronized is not said of a life that delivers messages in it."""
    places = []
    for index, event in enumerate(history):
        if isinstance(event, Synchronized):
            for later in history[index + 1 :]:
                if getattr(later, "life", None) == event.life:
                    if isinstance(later, Delivered):
                        places.append(index)
                    if isinstance(later, Delivered | Configured):
                        break
    if not places:
        return None
    at = random.choice(places)
    return history[:at] + history[at + 1 :]


def _no_verdict(history: History, random: Random) -> History | None:
    at = _at(history, random, lambda e: isinstance(e, QuorumChanged))
    return None if at is None else history[:at] + history[at + 1 :]


CORRUPTIONS: dict[str, tuple[Corruption, set[str]]] = {
    "drop": (_drop, {"no gaps", "virtual synchrony", "all delivered", "self-delivery", "safe delivery", "same views"}),
    "own drop": (_own_drop, {"self-delivery", "all delivered"}),
    "duplicate": (_duplicate, {"integrity"}),
    "swap": (_swap, {"agreed order"}),
    "foreign": (_foreign, {"integrity"}),
    "other bytes": (_other_bytes, {"integrity"}),
    "other guarantee": (_other_guarantee, {"integrity"}),
    "other sender": (_other_sender, {"integrity"}),
    "other members": (_other_members, {"transitional first", "one membership"}),
    "no transition": (_no_transition, {"transitional first"}),
    "old ring": (_old_ring, {"transitional first"}),
    "view without": (_view_without, {"views follow"}),
    "late synchronization": (_late_synchronization, {"synchronized service"}),
    "no verdict": (_no_verdict, {"verdict in ring"}),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_single_corruption_is_found(name: str, seed: int) -> None:
    corrupt, expected = CORRUPTIONS[name]
    history = random_history(seed)
    corrupted = corrupt(history, Random(seed))
    if corrupted is not None:
        assert properties(corrupted) & expected
