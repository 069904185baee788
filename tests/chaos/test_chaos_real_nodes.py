"""Messages that a real node tears between two rings are told from messages that are lost."""

from typing import TypeAlias

from totemd.ids import NodeId, RingId
from totemd.sim.history import Accepted, Configured, Delivered, Event, GroupChanged, LifeId
from totemd.totem.api import ConfigurationKind
from totemd_chaos.real_nodes import torn_messages, without

Nodes: TypeAlias = tuple[NodeId, ...]

REAL: NodeId = 2
OLD, NEW = RingId(1, 4), RingId(1, 8)
ALL = ((1, 10), (2, 20), (3, 30))


def change(
    time: float, node: NodeId, ring: RingId, came: tuple[NodeId, ...], members: tuple[NodeId, ...]
) -> list[Event]:
    joined = tuple(nodeid for nodeid in members if nodeid not in came)
    return [
        Configured(time, node, node * 10, ConfigurationKind.TRANSITIONAL, ring, came, (), ()),
        Configured(time, node, node * 10, ConfigurationKind.REGULAR, ring, members, joined, ()),
        GroupChanged(time, node, node * 10, ALL, ((node, node * 10, "join"),), ()),
    ]


def delivered(time: float, node: NodeId, number: int, sender: LifeId = 20) -> Event:
    return Delivered(time, node, node * 10, (sender, number), (sender // 10, sender), False, b"")


def history(*of_node_three: Event, came: Nodes = (3,)) -> list[Event]:
    """Nodes 1 and 2 (a real one) come from one ring, node 3 is new; node 1 delivers 5 and 6 in the new ring."""
    return [
        *change(1.0, 1, OLD, (1,), (1, 2)),
        delivered(1.5, 1, 4),
        *change(2.0, 1, NEW, (1, 2), (1, 2, 3)),
        *change(2.0, 3, NEW, came, (1, 2, 3)),
        Accepted(2.1, 2, 20, (20, 5), False),
        delivered(3.0, 1, 5),
        delivered(3.1, 1, 6),
        *of_node_three,
    ]


def test_a_new_member_may_lack_a_real_senders_first_message() -> None:
    events = history(delivered(3.2, 3, 6))
    torn = torn_messages(events, frozenset({REAL}))
    assert torn == {(20, 5)}
    rest = without(events, torn)
    assert len(events) - len(rest) == 2
    assert not any(isinstance(event, Accepted) for event in rest)


def test_other_messages_and_other_senders_are_not_torn() -> None:
    assert torn_messages(history(delivered(3.2, 3, 5)), frozenset({REAL})) == frozenset()
    assert torn_messages(history(delivered(3.2, 3, 6)), frozenset()) == frozenset()


def test_whoever_came_with_the_sender_has_no_excuse() -> None:
    events = history(delivered(3.2, 3, 6), came=(2, 3))
    assert torn_messages(events, frozenset({REAL})) == frozenset()


def test_a_message_may_be_torn_by_a_ring_on_which_nothing_was_sent() -> None:
    last = RingId(1, 12)
    events = [
        *change(1.0, 1, OLD, (1,), (1, 2)),
        delivered(1.5, 1, 4),
        *change(2.0, 1, NEW, (1, 2), (1, 2, 3)),
        *change(2.0, 3, NEW, (3,), (1, 2, 3)),
        *change(2.5, 1, last, (1, 2, 3), (1, 2, 3)),
        *change(2.5, 3, last, (1, 2, 3), (1, 2, 3)),
        delivered(3.0, 1, 5),
    ]
    assert torn_messages(events, frozenset({REAL})) == {(20, 5)}
    # Had the sender sent something on the ring in between, node 3 would have the beginning of what follows.
    events[10:10] = [delivered(2.3, 1, 5), delivered(2.3, 3, 5)]
    events[-1] = delivered(3.0, 1, 6)
    assert torn_messages(events, frozenset({REAL})) == frozenset()


def test_a_message_may_be_torn_by_a_ring_that_leaves_the_group_as_it_was() -> None:
    last = RingId(1, 12)
    events = [
        *change(1.0, 1, OLD, (1,), (1, 2)),
        delivered(1.5, 1, 4),
        *change(2.0, 1, NEW, (1, 2), (1, 2, 3)),
        *change(2.0, 3, NEW, (3,), (1, 2, 3)),
        *change(2.5, 1, last, (1, 2, 3), (1, 2, 3))[:2],
        *change(2.5, 3, last, (1, 2, 3), (1, 2, 3))[:2],
        delivered(3.0, 1, 5),
        delivered(3.1, 1, 6),
        delivered(3.1, 3, 6),
    ]
    assert torn_messages(events, frozenset({REAL})) == {(20, 5)}
