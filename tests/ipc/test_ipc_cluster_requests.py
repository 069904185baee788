"""Requests about who belongs to the cluster: who may ask, what is handed on, and answers that come later."""

import pytest

from ipc_world import DAEMON_UID, Client, World
from totemd.config.model import AccessSettings
from totemd.errors import Code, ServiceError
from totemd.ipc.cluster_requests import Done
from totemd.ipc.ports import Credentials
from totemd.limits import TICKET_TTL_MAX_S, VOTES_MAX

ALLOWED_UID = 1000
REQUESTS: list[tuple[str, dict[str, object]]] = [
    ("cluster_invite", {}),
    ("cluster_remove", {"node": "pike"}),
    ("cluster_leave", {}),
]


class Cluster:
    """A shell that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.waiting: list[Done] = []

    def invite(self, ttl_s: int, node_name: str | None, votes: int, done: Done) -> None:
        self._ask(done, "invite", ttl_s, node_name, votes)

    def remove(self, node: str, force: bool, who: str, done: Done) -> None:
        self._ask(done, "remove", node, force, who)

    def leave(self, who: str, done: Done) -> None:
        self._ask(done, "leave", who)

    def _ask(self, done: Done, *words: object) -> None:
        self.asked.append(words)
        self.waiting.append(done)


@pytest.fixture
def world() -> World:
    world = World(access=AccessSettings(uids=(ALLOWED_UID,)))
    world.form(1)
    return world


@pytest.fixture
def cluster(world: World) -> Cluster:
    cluster = Cluster()
    world.services.cluster = cluster
    return cluster


@pytest.mark.parametrize(("do", "given"), REQUESTS)
def test_a_cluster_that_is_kept_by_hand_says_so(world: World, do: str, given: dict[str, object]) -> None:
    error = world.client().reply(do, **given)["error"]
    assert error["code"] == "not_supported"
    assert "kept by hand" in error["message"]


@pytest.mark.parametrize(("do", "given"), REQUESTS)
@pytest.mark.parametrize(("uid", "may"), [(0, True), (DAEMON_UID, True), (ALLOWED_UID, False)])
def test_who_may(world: World, cluster: Cluster, do: str, given: dict[str, object], uid: int, may: bool) -> None:
    """A program that may use the socket may still not decide who belongs to the cluster: a ticket is a key."""
    client = Client(world, Credentials(1, uid, uid))
    client.send({"hello": {"protocol": 1, "client": "test"}})
    client.take()
    client.ask(do, **given)
    answers = client.take()
    assert (answers == []) == may
    assert bool(cluster.asked) == may
    assert may or answers[0]["error"]["code"] == "access"


def test_what_is_handed_on(world: World, cluster: Cluster) -> None:
    client = world.client()
    client.ask("cluster_invite", ttl_s=60, node_name="ling", votes=2)
    client.ask("cluster_invite")
    client.ask("cluster_remove", node="3")
    client.ask("cluster_remove", node="pike", force=True)
    client.ask("cluster_leave")
    who = "uid 0 on node 1"
    assert cluster.asked == [
        ("invite", 60, "ling", 2),
        ("invite", 600, None, 1),
        ("remove", "3", False, who),
        ("remove", "pike", True, who),
        ("leave", who),
    ]


def test_answers_come_when_they_are_there(world: World, cluster: Cluster) -> None:
    client = world.client()
    first, second = client.ask("cluster_invite"), client.ask("cluster_leave")
    assert client.take() == []
    cluster.waiting[1](ServiceError(Code.NO_RESOURCES, "there is no quorum"))
    cluster.waiting[0]({"ticket": "totemd1-"})
    assert client.take() == [
        {"id": second, "error": {"code": "no_resources", "message": "there is no quorum"}},
        {"id": first, "ok": {"ticket": "totemd1-"}},
    ]


def test_an_answer_to_somebody_who_is_gone_does_no_harm(world: World, cluster: Cluster) -> None:
    client = world.client()
    client.ask("cluster_leave")
    client.session.closed()
    cluster.waiting[0]({"version": 2})
    assert client.take() == []


@pytest.mark.parametrize(
    ("do", "given"),
    [
        ("cluster_invite", {"ttl_s": 0}),
        ("cluster_invite", {"ttl_s": TICKET_TTL_MAX_S + 1}),
        ("cluster_invite", {"ttl_s": 1.5}),
        ("cluster_invite", {"node_name": ""}),
        ("cluster_invite", {"votes": -1}),
        ("cluster_invite", {"votes": VOTES_MAX + 1}),
        ("cluster_remove", {}),
        ("cluster_remove", {"node": "x" * 300}),
        ("cluster_remove", {"node": 3}),
        ("cluster_remove", {"node": "pike", "force": "yes"}),
        ("cluster_leave", {"now": True}),
    ],
)
def test_what_is_no_request(world: World, cluster: Cluster, do: str, given: dict[str, object]) -> None:
    assert world.client().reply(do, **given)["error"]["code"] == "bad_request"
    assert cluster.asked == []
