"""What a node says of itself before its first ring and alone in it, and how its services use it."""

import errno
from dataclasses import replace

import msgpack
import pytest

from small_configuration import small_configuration
from totemd.config.model import RemovedNode
from totemd.ipc.frames import encode_frame
from totemd.ipc.ports import Credentials
from totemd.node import Node
from totemd.node.effects import Exit, NodeEffect, PersistFile, ReadConfiguration
from totemd.node.host import ServiceHost
from totemd.node.status import summary
from totemd.services.votequorum.electorate import VoterState
from totemd.services.votequorum.events import NodeStanding
from totemd.totem.effects import Log

HERE = "10.0.0.1"


class Lone:
    """A node whose datagrams reach nobody, on a clock of its own."""

    def __init__(self, quorum: str = "") -> None:
        self.effects: list[NodeEffect] = []
        self.now = 100.0
        self.node = Node(
            small_configuration(HERE, "10.0.0.2", "10.0.0.3", quorum=quorum),
            stored_ring_seq=40,
            tracked_expected_votes=None,
            incarnation="a1",
            own_uid=0,
            random=lambda: 0.5,
            emit=self.effects.append,
            now=self.now,
        )

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.node.next_deadline() <= end:
            self.now = max(self.now, self.node.next_deadline())
            self.node.handle_timer(self.now)
        self.now = end
        self.node.handle_timer(end)

    def log(self) -> list[str]:
        return [effect.text for effect in self.effects if isinstance(effect, Log)]


@pytest.fixture
def lone() -> Lone:
    return Lone()


@pytest.fixture
def formed(lone: Lone) -> Lone:
    lone.node.start(lone.now)
    lone.run(10)
    return lone


def test_status_before_the_first_ring(lone: Lone) -> None:
    status = lone.node.status()
    assert status["ring"] is None
    assert status["last_change"] is None
    assert status["members"] == []
    assert status["quorate"] is False
    assert status["syncing"] is True
    assert status["uptime_s"] == 0


def test_status_alone_in_a_ring(formed: Lone) -> None:
    status = formed.node.status()
    ring = status["ring"]
    assert isinstance(ring, dict)
    assert ring["rep"] == 1
    assert ring["seq"] > 40
    assert ring["id"] == f"1.{ring['seq']:x}"
    assert status["ring_state"] == "operational"
    assert status["syncing"] is False
    assert status["quorate"] is False
    assert status["votes"] == {"expected": 3, "highest": 3, "total": 1, "quorum": 2}
    assert status["members"] == [{"nodeid": 1, "name": "n1", "address": HERE, "votes": 1, "local": True}]
    assert status["uptime_s"] == 10


def test_nodes_that_were_never_seen_are_listed(formed: Lone) -> None:
    nodes = formed.node.nodes()
    assert [(node["nodeid"], node["state"], node["local"]) for node in nodes] == [
        (1, "member", True),
        (2, "never", False),
        (3, "never", False),
    ]


def test_answers_fit_into_frames(formed: Lone) -> None:
    formed.node.receive_datagrams([(b"rubbish", HERE), (b"", "1.2.3.4")], formed.now)
    stats = formed.node.stats()
    assert stats["dropped"] == {"shorter than a header": 1, "source address is not in the nodelist": 1}
    for answer in (formed.node.status(), formed.node.nodes(), stats):
        assert msgpack.unpackb(msgpack.packb(answer)) == answer


def test_host_logs_and_persists_in_the_services_name(lone: Lone) -> None:
    host = ServiceHost(lone.node, "TEST")
    host.log("info", "hello")
    host.persist("file", b"data")
    assert Log("info", "TEST", "hello") in lone.effects
    assert lone.effects[-1] == PersistFile("file", b"data")
    assert host.nodeid == 1
    assert host.sync_in_progress


def test_services_timers_do_not_meet(formed: Lone) -> None:
    ran: list[str] = []
    one, two = ServiceHost(formed.node, "ONE"), ServiceHost(formed.node, "TWO")
    one.set_timer("t", 1.0, lambda: ran.append("one"))
    two.set_timer("t", 2.0, lambda: ran.append("two"))
    one.cancel_timer("t")
    formed.run(3)
    assert ran == ["two"]


def test_one_reading_of_the_file_answers_all_who_asked(formed: Lone) -> None:
    host = ServiceHost(formed.node, "TEST")
    answers: list[str | None] = []
    for _ in range(3):
        host.request_reload(answers.append)
    assert sum(isinstance(effect, ReadConfiguration) for effect in formed.effects) == 1
    formed.node.configuration_read("no such file", formed.now)
    assert answers == ["no such file"] * 3
    host.request_reload(answers.append)
    formed.node.configuration_read(formed.node.configuration, formed.now)
    assert answers[3:] == [None]


@pytest.mark.parametrize(("at_once", "status"), [(True, 7), (False, 0)])
def test_shut_down_ends_once(formed: Lone, at_once: bool, status: int) -> None:
    host = ServiceHost(formed.node, "TEST")
    for _ in range(2):
        host.shut_down("enough", status=status, at_once=at_once)
    assert [effect for effect in formed.effects if isinstance(effect, Exit)] == [Exit(status, "enough")]
    assert formed.effects[-1] == Exit(status, "enough")


def test_ring_number_that_is_not_durable_is_not_used_a_moment_longer() -> None:
    """Not even for the farewell that a voter with allow_downscale would wait for."""
    lone = Lone("allow_downscale: 1")
    lone.node.start(lone.now)
    lone.run(10)
    lone.node.persist_failed("disk full", lone.now)
    assert lone.effects[-1] == Exit(1, "the ring number cannot be stored: disk full")
    count = len(lone.effects)
    lone.run(10)
    assert len(lone.effects) == count


def test_who_comes_while_the_node_stops_is_sent_away(formed: Lone) -> None:
    formed.node.leave(formed.now)
    assert any(isinstance(effect, Exit) for effect in formed.effects)
    session = formed.node.open_session(Credentials(1, 0, 0), formed.now)
    assert session.closing == "the daemon stops"
    formed.node.session_receive(session, encode_frame({"hello": {"protocol": 1, "client": "late"}}), formed.now)
    output = b"".join(session.take_output())
    assert b"the daemon stops" in output
    assert b"hello" not in output


def test_libraries_are_served_from_the_first_synchronization_to_the_end(formed: Lone) -> None:
    root = Credentials(1, 0, 0)
    assert Lone().node.qb.refusal(root) == errno.EAGAIN
    assert formed.node.qb.refusal(root) == 0
    assert formed.node.qb.refusal(Credentials(1, 4321, 4321)) == errno.EACCES
    formed.node.leave(formed.now)
    assert formed.node.qb.refusal(root) == errno.EAGAIN


def test_synchronization_waits_for_a_quorum_device_patiently_and_goes_on_without_it() -> None:
    timeout_s = 100
    lone = Lone(f"device {{\n model: net\n votes: 2\n sync_timeout: {timeout_s * 1000}\n}}\n")
    node = lone.node
    node.start(lone.now)
    lone.run(10)
    assert node.votequorum is not None
    assert node.membership is not None
    device = node.votequorum.device
    device.register(b"net", lambda refusal: None)
    lone.run(1)
    device.poll(b"net", True, node.membership.ring)
    lone.run(1)
    assert node.quorum.get_quorate()
    node.ring.gather_again("the test wants it", lone.now)
    lone.run(5)
    waiting, tokens = node.membership.ring, node.ring.stats.orf_token_tx
    lone.run(timeout_s - 10)
    assert node.synchronizing
    assert node.membership.ring == waiting
    assert node.ring.stats.orf_token_tx - tokens < 30 * timeout_s  # parked as in an idle ring
    lone.run(10)
    assert not node.synchronizing
    assert node.membership.ring == waiting
    assert not node.quorum.get_quorate()


def test_votequorums_memory_of_a_removed_node_does_not_show(formed: Lone, monkeypatch: pytest.MonkeyPatch) -> None:
    node = formed.node
    assert node.votequorum is not None
    remembered = (*node.votequorum.nodes(), NodeStanding(4, VoterState.DEAD, 1), NodeStanding(5, VoterState.DEAD, 1))
    monkeypatch.setattr(node.votequorum, "nodes", lambda: remembered)
    node.configuration = replace(node.configuration, removed=(RemovedNode(4, "pike", None, 8),))
    assert [entry["nodeid"] for entry in node.nodes()] == [1, 2, 3, 5]
    configuration = node.status()["configuration"]
    assert isinstance(configuration, dict)
    assert configuration["removed"] == [{"nodeid": 4, "name": "pike", "version": 8}]


def test_a_line_for_the_service_manager(lone: Lone) -> None:
    assert summary(lone.node) == "looking for other nodes"
    lone.node.start(lone.now)
    lone.run(10)
    assert summary(lone.node) == "no quorum: 1 of 3 nodes in ring 1.2d; votes: 1, needed: 2"
