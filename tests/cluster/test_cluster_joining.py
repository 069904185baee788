"""Joining: both sides together, whatever is lost or dies on the way (R06), and who is refused before (R07)."""

from dataclasses import replace
from math import inf

import pytest

from joining_world import KEYS, Conversation, Cut, Disk, World, identity, listed, loaded, new_text
from totemd.cluster.change import Change
from totemd.cluster.completing import Completing, Completion, Overtaken
from totemd.cluster.join_messages import LENGTH_SIZE, Hello, Refused, Report, Stored, decode, encode
from totemd.cluster.joining import PATIENCE_S, Fail, Finish, Joiner, Propose, Send, Sponsor
from totemd.cluster.nodelist_text import add_node, mark_leaving, remove_node
from totemd.cluster.standing import joining_votes
from totemd.cluster.ticket import Ticket
from totemd.cluster.tickets import ABORTED_MAX, Tickets
from totemd.errors import BadPacket


def joiner(ticket: Ticket, number: int = 2, *, votes: int = 1, nodeid: int | None = None) -> Joiner:
    node = listed(number)
    return Joiner(ticket, identity(number), name=node.name, address=node.address, votes=votes, nodeid=nodeid)


def conversation(world: World, ticket: Ticket, number: int = 2, **more: int) -> Conversation:
    return Conversation(world, joiner(ticket, number, **more), Disk())


def refusal(talk: Conversation) -> Fail:
    before = talk.world.text
    outcome = talk.run()
    assert isinstance(outcome, Fail)
    assert talk.world.text == before
    return outcome


def test_a_join_from_end_to_end() -> None:
    world = World()
    talk = conversation(world, world.issue(votes=3), votes=3)
    assert talk.run() == Finish(2, PATIENCE_S)
    node = world.configuration.node(2)
    assert node is not None
    assert (node.name, node.quorum_votes, joining_votes(world.configuration, node)) == ("n2", 0, 3)
    assert talk.disk.reservation is not None
    assert talk.disk.reservation.keys == KEYS
    assert Change.decode(talk.disk.reservation.record).text == world.text
    assert world.changes == ["join"]


def test_counted_once_it_is_a_member() -> None:
    """One vote at a time: then every majority of before has a node in common with every majority of after."""
    world = World()
    conversation(world, world.issue(votes=3), votes=3).run()
    completing = Completing(1)
    for now, votes, wanted in ((10.0, 1, 3), (20.0, 2, 3), (30.0, 3, None)):
        completing.update(world.configuration, (1, 2), True, now)
        due = completing.decide(now)
        assert due is not None
        assert due.kind == "count"
        world.commit(due.kind, due.edit(world.text, 99))
        node = world.configuration.node(2)
        assert node is not None
        assert (node.quorum_votes, joining_votes(world.configuration, node)) == (votes, wanted)
    completing.update(world.configuration, (1, 2), True, 40.0)
    assert completing.decide(40.0) is None


def test_what_another_change_has_settled_meanwhile_is_not_settled_again() -> None:
    """Two members may think of it at the same time; the slower one composes its change from the other one's."""
    world = World()
    conversation(world, world.issue(votes=2), votes=2).run()
    joining = world.text
    abort = Completion("abort-join", 2, "n2")
    first, last = Completion("count", 2, "n2", 1, joins=True), Completion("count", 2, "n2", 2)
    half = first.edit(joining, 3)
    counted = last.edit(half, 4)
    for due, text in (
        (abort, half),
        (abort, counted),
        (first, half),
        (first, counted),
        (last, counted),
        (Completion("leave", 2, "n2"), counted),
    ):
        with pytest.raises(Overtaken, match="node 2"):
            due.edit(text, 5)
    assert [node.nodeid for node in loaded(abort.edit(joining, 3)).nodes] == [1]


def test_a_node_that_has_votes_already_keeps_its_place_however_long_it_is_away() -> None:
    world = World()
    conversation(world, world.issue(votes=2), votes=2).run()
    world.text = Completion("count", 2, "n2", 1, joins=True).edit(world.text, 3)
    completing = Completing(1)
    completing.update(world.configuration, (1,), True, 0.0)
    assert completing.next_deadline() == inf


def test_a_node_without_votes_is_counted_as_one() -> None:
    world = World()
    conversation(world, world.issue(), votes=0).run()
    completing = Completing(1)
    completing.update(world.configuration, (1, 2), True, 10.0)
    due = completing.decide(10.0)
    assert due is not None
    world.commit(due.kind, due.edit(world.text, 99))
    node = world.configuration.node(2)
    assert node is not None
    assert (node.quorum_votes, joining_votes(world.configuration, node)) == (0, None)


def test_r05_joins_one_after_the_other() -> None:
    """31 of them: ids in the order of joining, one version for each change, one text for all."""
    world = World()
    for number in range(2, 33):
        talk = conversation(world, world.issue(number), number)
        assert talk.run() == Finish(number, PATIENCE_S)
        assert talk.disk.reservation is not None
        assert Change.decode(talk.disk.reservation.record).text == world.text
        completing = Completing(1)
        completing.update(world.configuration, tuple(range(1, number + 1)), True, 0.0)
        due = completing.decide(0.0)
        assert due is not None
        world.commit(due.kind, due.edit(world.text, 99))
    configuration = world.configuration
    assert configuration.config_version == 1 + 2 * 31
    assert [node.nodeid for node in configuration.nodes] == list(range(1, 33))
    assert configuration.quorum.expected_votes == 32


def steps_of_a_join() -> int:
    world = World()
    talk = conversation(world, world.issue())
    talk.run()
    return talk.steps


@pytest.mark.parametrize("step", range(steps_of_a_join()))
@pytest.mark.parametrize("dies", ["joiner", "member", "both", "connection"])
def test_r06_cut_at_every_step_then_tried_again(step: int, dies: str) -> None:
    """The cluster keeps its quorum, and a retry with the same ticket succeeds, whoever died when."""
    world = World()
    ticket = world.issue()
    talk = conversation(world, ticket)
    talk.cut_at = step
    with pytest.raises(Cut):
        talk.run()
    assert world.configuration.quorum.expected_votes == 1
    if dies in ("joiner", "connection"):
        # The member notices; a dead one does not.
        for action in talk.sponsor.disconnected():
            assert isinstance(action, Propose)
            world.carry(talk.sponsor, action.kind)
    else:
        world.restart()
    again = Conversation(world, joiner(ticket), talk.disk)
    assert again.run() == Finish(2, PATIENCE_S)
    assert [node.nodeid for node in world.configuration.nodes] == [1, 2]
    assert world.configuration.quorum.expected_votes == 1
    assert world.configuration.removed == ()
    assert again.disk.reservation is not None
    assert Change.decode(again.disk.reservation.record).text == world.text


@pytest.mark.parametrize("step", range(steps_of_a_join()))
def test_r06_cut_and_never_tried_again_leaves_nothing(step: int) -> None:
    world = World()
    before = world.configuration
    talk = conversation(world, world.issue())
    talk.cut_at = step
    with pytest.raises(Cut):
        talk.run()
    world.restart()
    completing = Completing(1)
    completing.update(world.configuration, (1,), True, 0.0)
    assert completing.decide(PATIENCE_S - 1) is None
    due = completing.decide(PATIENCE_S + 0.0)
    if due is not None:
        assert due.kind == "abort-join"
        world.commit(due.kind, due.edit(world.text, 99))
    assert (world.configuration.nodes, world.configuration.removed) == (before.nodes, before.removed)
    # Its ticket is as new for the same node.
    assert isinstance(conversation(world, world.issue(2)).run(), Finish)


def test_a_ticket_is_for_one_node() -> None:
    world = World()
    ticket = world.issue()
    conversation(world, ticket).run()
    assert refusal(conversation(world, ticket, 3)).code == "used"
    # The same node may come again, and is told the same.
    assert conversation(world, ticket).run() == Finish(2, PATIENCE_S)
    assert world.changes == ["join"]


def test_tickets_that_are_refused() -> None:
    world = World()
    expired, stranger = world.issue(1, ttl_s=0), Ticket((), bytes(32), b"s" * 32, "sea", 1)
    named, other = world.issue(2, node_name="N7"), replace(world.issue(3), cluster="lake")
    assert refusal(conversation(world, expired)).code == "expired"
    assert refusal(conversation(world, stranger)).code == "ticket"
    assert refusal(conversation(world, named)).code == "name"
    assert refusal(conversation(world, other)).code == "cluster"
    assert refusal(conversation(world, named, 7, votes=2)).code == "votes"
    assert isinstance(conversation(world, named, 7).run(), Finish)


def test_no_quorum() -> None:
    world = World(quorate=False)
    assert refusal(conversation(world, world.issue())).code == "no_quorum"


def test_unreachable_changes_nothing() -> None:
    world = World()
    before = world.text
    talk = Conversation(world, joiner(world.issue()), Disk(), problems=("no way",))
    assert talk.run() == Fail("unreachable", ("no way",))
    assert world.text == before


def test_a_rejected_change_is_told() -> None:
    world = World(refuses="n1: no")
    assert refusal(conversation(world, world.issue())) == Fail("rejected", ("n1: no",))


def test_ids_are_the_lowest_never_used() -> None:
    world = World()
    world.text = remove_node(add_node(add_node(world.text, listed(2)), listed(4)), 2, 9)
    assert conversation(world, world.issue(), 5).run() == Finish(3, PATIENCE_S)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "N1"}, "the name"),
        ({"address": "192.0.2.1"}, "the address"),
        ({"uuid": identity(1).uuid}, "uuid"),
        ({"public_key": identity(1).public_key}, "public key"),
        ({"nodeid": 1}, "node id 1"),
        ({"nodeid": 9}, "removed node"),
        ({"uuid": identity(9).uuid}, "was removed as node 9"),
        ({"address": "2001:db8::2"}, "IPv4"),
        ({"address": "127.0.0.2"}, "loopback"),
        ({"name": "n1\n}"}, "is no node name"),
    ],
)
def test_r07_duplicates_are_refused_before_anything_changes(change: dict[str, object], told: str) -> None:
    world = World()
    world.text = remove_node(add_node(world.text, listed(9)), 9, 2)
    before = world.text
    ticket = world.issue()
    two = listed(2)
    hello = Hello(1, ticket.secret, "sea", two.name, two.uuid, two.public_key, two.address, 1, None)
    sponsor = Sponsor(world, world.tickets, lambda: 1_000_000)
    [answer, _] = sponsor.receive(replace(hello, **change))  # type: ignore[arg-type] # the field's own type
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Refused)
    assert told in " ".join(answer.message.reasons)
    assert world.text == before
    sponsor.disconnected()
    # Nothing is remembered of it: the right node can come with the ticket.
    assert isinstance(conversation(world, ticket).run(), Finish)


def test_nobody_is_told_what_is_just_being_undone() -> None:
    """A joiner that died with its place and comes again at once: first the old try is undone."""
    world = World()
    ticket = world.issue()
    talk = conversation(world, ticket)
    talk.cut_at = steps_of_a_join() - 4
    with pytest.raises(Cut):
        talk.run()
    assert world.changes == ["join"]
    [undo] = talk.sponsor.disconnected()
    assert isinstance(undo, Propose)
    assert refusal(conversation(world, ticket)).code == "busy"
    world.carry(talk.sponsor, undo.kind)
    assert world.changes == ["join", "abort-join"]
    assert conversation(world, ticket).run() == Finish(2, PATIENCE_S)


def _greeted(world: World, ticket: Ticket, number: int) -> Sponsor:
    """A connection whose joiner is now to probe."""
    node = listed(number)
    sponsor = Sponsor(world, world.tickets, lambda: 1_000_000)
    hello = Hello(1, ticket.secret, "sea", node.name, node.uuid, node.public_key, node.address, 1, None)
    [order] = sponsor.receive(hello)
    assert isinstance(order, Send)
    assert not isinstance(order.message, Refused)
    return sponsor


def test_of_several_that_bring_one_ticket_at_once_one_gets_in() -> None:
    world = World()
    ticket = world.issue()
    first, second = (_greeted(world, ticket, number) for number in (2, 3))
    assert first.receive(Report(())) == [Propose("join")]
    [answer, _] = second.receive(Report(()))
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Refused)
    assert answer.message.code == "used"
    second.disconnected()
    # It is as new when the change was not made, and taken while nobody knows.
    first.rejected(("no",))
    third = _greeted(world, ticket, 3)
    assert third.receive(Report(())) == [Propose("join")]
    [answer, _] = third.undecided("nobody knows")
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Refused)
    assert answer.message.code == "busy"
    used = world.tickets.find(ticket.digest)
    assert used is not None
    assert used.used_by == listed(3).uuid


def test_nobody_gets_the_keys_by_what_everybody_may_read_of_a_counted_node() -> None:
    world = World()
    world.text = add_node(world.text, listed(2))
    ticket = world.issue()
    node = listed(2)
    sponsor = Sponsor(world, world.tickets, lambda: 1_000_000)
    [answer, _] = sponsor.receive(
        Hello(1, ticket.secret, "sea", node.name, node.uuid, node.public_key, node.address, 1, None)
    )
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Refused)
    assert answer.message.code == "duplicate"


def test_what_comes_out_of_turn_ends_the_conversation() -> None:
    world = World()
    for first in (Report(()), Stored()):
        sponsor = Sponsor(world, world.tickets, lambda: 1_000_000)
        [answer, _] = sponsor.receive(first)
        assert isinstance(answer, Send)
        assert isinstance(answer.message, Refused)
        assert answer.message.code == "protocol"
        assert not sponsor.authenticated


def test_two_that_join_at_once_get_two_ids() -> None:
    world = World()
    one, two = conversation(world, world.issue(1), 2), conversation(world, world.issue(2), 3)
    one.cut_at = 4  # behind its report's probes, before its change
    with pytest.raises(Cut):
        one.run()
    assert two.run() == Finish(2, PATIENCE_S)
    # As long as its first try is not over it is told to come again.
    again = conversation(world, world.issue(3), 2).run()
    assert isinstance(again, Fail)
    assert (again.code, again.again) == ("busy", True)
    assert one.sponsor.disconnected() == []
    assert conversation(world, world.issue(4), 2).run() == Finish(3, PATIENCE_S)
    assert {node.name for node in world.configuration.nodes} == {"n1", "n2", "n3"}


def test_only_the_lowest_counted_member_completes() -> None:
    world = World()
    world.text = add_node(add_node(world.text, listed(2)), listed(3, votes=0, joining=1))
    configuration = world.configuration
    deciders = []
    for me in (1, 2, 3):
        completing = Completing(me)
        completing.update(configuration, (1, 2, 3), True, 0.0)
        deciders.append(completing.decide(0.0) is not None)
    assert deciders == [True, False, False]
    # Without 1 it is 2's turn; a component without quorum does nothing.
    completing = Completing(2)
    completing.update(configuration, (2, 3), False, 0.0)
    assert completing.decide(0.0) is None
    completing.update(configuration, (2, 3), True, 0.0)
    assert completing.decide(0.0) is not None
    # Not twice at once, but again when nothing came of it.
    assert completing.decide(0.5) is None
    assert completing.decide(1.5) is not None


def test_leaving_in_two_steps() -> None:
    """First the votes, then the node: nobody's quorum depends on when it ends."""
    world = World()
    world.text = add_node(world.text, listed(2))
    world.commit("leave", mark_leaving(world.text, 2))
    assert world.configuration.quorum.expected_votes == 1
    completing = Completing(1)
    completing.update(world.configuration, (1, 2), True, 0.0)
    assert completing.decide(1e9) is None
    completing.update(world.configuration, (1,), True, 5.0)
    due = completing.decide(5.0)
    assert due is not None
    assert (due.kind, due.nodeid) == ("leave", 2)
    world.commit(due.kind, due.edit(world.text, 7))
    assert [(tomb.nodeid, tomb.version) for tomb in world.configuration.removed] == [(2, 7)]
    assert [node.nodeid for node in world.configuration.nodes] == [1]
    # The one that leaves does not act, even if it is the lowest.
    completing = Completing(2)
    text = mark_leaving(add_node(add_node(new_text(), listed(2)), listed(3)), 2)
    completing.update(loaded(text), (2, 3), True, 0.0)
    assert completing.next_deadline() == inf


def test_a_ticket_whose_joins_are_broken_off_again_and_again_is_void() -> None:
    """Each is two entries of the history, which has an end."""
    world = World()
    ticket = world.issue()
    for _ in range(ABORTED_MAX):
        sponsor = _greeted(world, ticket, 2)
        assert sponsor.receive(Report(())) == [Propose("join")]
        world.commit("join", sponsor.compose())
        sponsor.committed()
        assert sponsor.disconnected() == [Propose("abort-join")]
        world.commit("abort-join", sponsor.compose())
        sponsor.committed()
    kept = Tickets.parse(world.tickets.to_bytes()).find(ticket.digest)
    assert kept is not None
    assert kept.aborted == ABORTED_MAX
    assert refusal(conversation(world, ticket)).code == "void"


def test_a_key_for_which_there_can_be_no_box_does_not_come_in() -> None:
    hello = Hello(1, bytes(32), "sea", "x", b"u" * 16, bytes(32), "192.0.2.2", 1, None)
    with pytest.raises(BadPacket, match="no boxes"):
        decode(encode(hello)[LENGTH_SIZE:])
