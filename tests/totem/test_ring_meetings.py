"""Where rings meet while one of them is being made: what a ring does there that real nodes do not."""

from collections.abc import Iterator

from totemd.config.model import TotemParameters
from totemd.ids import NO_RING, NodeId, RingId
from totemd.totem.api import ConfigurationChanged
from totemd.totem.core import State
from totemd.totem.effects import Broadcast, RingEffect, Unicast
from totemd.totem.ring import Ring
from totemd.wire.packets import CommitEntry, CommitToken, Join, MergeDetect, OrfToken, Packet, decode_packet

NOW = 1.0

EMPTY = CommitEntry(NO_RING, 0, 0, 0)


class Driver:
    """Node 1 alone with its ring; the test plays all others."""

    def __init__(self, nodeid: NodeId = 1) -> None:
        self.effects: list[RingEffect] = []
        self.ring = Ring(nodeid, TotemParameters(), 0, self, lambda: 0.5, self.effects.append)
        self.ring.start(NOW)
        self.due()

    def packet_delivered(self, sender: NodeId, payload: bytes) -> None: ...

    def configuration_changed(self, change: ConfigurationChanged) -> None: ...

    def token_received(self) -> None: ...

    def token_sent(self) -> None: ...
    def waits_for_token(self) -> bool:
        return True

    def switch_reassembly(self) -> None: ...

    def due(self) -> None:
        """Let the ring hear itself, and do what is due now."""
        for _ in range(50):
            if self.ring.next_deadline() > NOW:
                return
            self.ring.handle_timer(NOW)

    def hear(self, *packets: Packet) -> list[Packet]:
        """Let packets arrive. Gives what the ring sent in answer."""
        self.effects.clear()
        for packet in packets:
            self.ring.receive(packet, NOW)
            self.due()
        return list(self.sent())

    def sent(self) -> Iterator[Packet]:
        """What the ring sent since the last packets."""
        for effect in self.effects:
            if isinstance(effect, Broadcast | Unicast):
                yield decode_packet(effect.data)


def join(sender: NodeId, *proc: NodeId, seq: int = 5) -> Join:
    return Join(sender, sender, seq, proc, ())


def joins(packets: list[Packet]) -> list[Join]:
    return [packet for packet in packets if isinstance(packet, Join)]


def proposed(packets: list[Packet]) -> CommitToken | None:
    return next((packet for packet in packets if isinstance(packet, CommitToken)), None)


def test_representative_proposes_again_when_a_member_sees_more() -> None:
    driver = Driver()
    first = proposed(driver.hear(join(2, 2, 1), join(1, 1, 2)))
    assert first is not None
    assert first.members == (1, 2)
    assert driver.ring.state is State.COMMIT
    # Node 2 met node 3 before our proposal reached it, and knows nothing of the proposal's number.
    second = proposed(driver.hear(join(2, 2, 1, 3), join(3, 3, 1, 2)))
    assert second is not None
    assert second.members == (1, 2, 3)
    assert second.ring.seq > first.ring.seq


def test_join_with_nothing_new_does_not_disturb_a_commit() -> None:
    driver = Driver()
    driver.hear(join(2, 2, 1))
    assert driver.ring.state is State.COMMIT
    assert not driver.hear(join(2, 2, 1), join(2, 2), join(4, 4, 2))
    assert driver.ring.state is State.COMMIT


def test_too_small_proposal_is_refused_with_a_join_that_its_maker_hears() -> None:
    driver = Driver(nodeid=5)
    driver.hear(join(4, 4, 5), join(2, 2, 3))
    ring = RingId(4, 13)
    answer = joins(driver.hear(CommitToken(4, 1, ring, 1, (4, 5), (EMPTY, EMPTY))))
    assert driver.ring.state is State.GATHER
    assert answer
    assert all(sent.ring_seq >= ring.seq and {2, 3, 4, 5} == set(sent.proc_list) for sent in answer)
    # Once is enough: the copies of that token change nothing.
    assert not driver.hear(CommitToken(4, 1, ring, 1, (4, 5), (EMPTY, EMPTY)))


def form_with_node_2(driver: Driver) -> OrfToken:
    """A ring of nodes 1 and 2, installed here but for all we know not yet at node 2. Gives the token as sent last."""
    commit = proposed(driver.hear(join(2, 2, 1), join(1, 1, 2)))
    assert commit is not None
    back = CommitToken(2, 2, commit.ring, 2, (1, 2), (commit.entries[0], CommitEntry(RingId(2, 5), 0, 0, 1)))
    driver.hear(back)
    sent = driver.hear(CommitToken(2, 4, commit.ring, 2, back.members, back.entries))
    for _ in range(10):
        token = next(packet for packet in reversed(sent) if isinstance(packet, OrfToken))
        if driver.ring.state is State.OPERATIONAL:
            return token
        sent = driver.hear(returned(token))
    raise AssertionError("never installed")


def returned(token: OrfToken) -> OrfToken:
    """The token as node 2 passes it on when it has nothing to say."""
    return OrfToken(
        2, 0, token.seq, token.token_seq + 1, token.aru, 0, token.ring, token.backlog, token.fcc, token.retrans_flg, ()
    )


def test_newcomers_wait_until_all_members_have_installed_the_ring() -> None:
    for stranger in (join(3, 3), MergeDetect(3, 3, RingId(3, 5))):
        driver = Driver()
        token = form_with_node_2(driver)
        assert not joins(driver.hear(stranger)), "a join now would meet node 2 in recovery"
        met = joins(driver.hear(returned(token)))
        assert driver.ring.state is State.GATHER
        assert {1, 2, 3} == set(met[-1].proc_list)


def test_newcomer_to_a_settled_ring_is_met_at_once() -> None:
    driver = Driver()
    token = form_with_node_2(driver)
    driver.hear(returned(token))
    assert joins(driver.hear(join(3, 3)))
    assert driver.ring.state is State.GATHER


def test_member_that_wants_a_new_ring_is_heard_at_once() -> None:
    driver = Driver()
    form_with_node_2(driver)
    assert joins(driver.hear(join(2, 2, 1, seq=driver.ring.ring.seq)))
