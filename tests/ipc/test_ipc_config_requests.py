"""Requests about the replicated configuration: who may ask what, what is handed on, and answers that come later."""

from collections.abc import Mapping

import pytest

from ipc_world import DAEMON_UID, Client, World
from totemd.config.model import AccessSettings
from totemd.errors import Code, ServiceError
from totemd.ipc.cluster_requests import Done
from totemd.ipc.ports import Credentials

ALLOWED_UID = 1000
OUTCOME = {"accepted": True, "version": 8}

CHANGES = [
    ("config_propose", {"text": "totem {\n}\n"}),
    ("config_rollback", {}),
    ("config_rotate_key", {}),
]


class Configuration:
    """A shell that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.waiting: list[Done] = []

    def show(self, version: int | None) -> Mapping[str, object]:
        if version == 404:
            raise ServiceError(Code.NOT_EXIST, "there is no version 404")
        return {"version": version or 7}

    def history(self) -> Mapping[str, object]:
        return {"entries": []}

    def validate(self, text: str, done: Done) -> None:
        self._ask(done, "validate", text)

    def propose(
        self, text: str, base_version: int | None, rollback_after_s: int, who: str, what: str, done: Done
    ) -> None:
        self._ask(done, "propose", text, base_version, rollback_after_s, who, what)

    def roll_back(self, version: int | None, who: str, done: Done) -> None:
        self._ask(done, "roll back", version, who)

    def rotate_key(self, who: str, done: Done) -> None:
        self._ask(done, "rotate", who)

    def _ask(self, done: Done, *words: object) -> None:
        self.asked.append(words)
        self.waiting.append(done)


@pytest.fixture
def world() -> World:
    world = World(access=AccessSettings(uids=(ALLOWED_UID,)))
    world.form(1)
    world.services.replicated = Configuration()
    return world


@pytest.fixture
def client(world: World) -> Client:
    return world.client()


def configuration(world: World) -> Configuration:
    assert isinstance(world.services.replicated, Configuration)
    return world.services.replicated


def test_what_is_there_is_answered_at_once(client: Client) -> None:
    assert client.ok("config_show") == {"version": 7}
    assert client.ok("config_show", version=3) == {"version": 3}
    assert client.refused("config_show", version=404) == ("not_exist", "there is no version 404")
    assert client.ok("config_history") == {"entries": []}


def test_a_change_is_handed_on_with_who_asks(world: World, client: Client) -> None:
    client.ask("config_propose", text="t", base_version=7, what="why", rollback_after_s=5)
    client.ask("config_propose", text="t")
    client.ask("config_rollback", version=6)
    client.ask("config_rotate_key")
    client.ask("config_validate", text="t")
    who = "uid 0 on node 1"
    assert configuration(world).asked == [
        ("propose", "t", 7, 5, who, "why"),
        ("propose", "t", None, 30, who, ""),
        ("roll back", 6, who),
        ("rotate", who),
        ("validate", "t"),
    ]


def test_answers_come_when_they_are_there(world: World, client: Client) -> None:
    first = client.ask("config_propose", text="t")
    second = client.ask("config_rotate_key")
    assert client.take() == []
    one, two = configuration(world).waiting
    two(ServiceError(Code.NOT_SUPPORTED, "open"))
    one(OUTCOME)
    assert client.take() == [
        {"id": second, "error": {"code": "not_supported", "message": "open"}},
        {"id": first, "ok": OUTCOME},
    ]


def test_an_answer_for_a_client_that_is_gone_goes_nowhere(world: World, client: Client) -> None:
    client.ask("config_propose", text="t")
    client.session.closed()
    configuration(world).waiting[0](OUTCOME)
    assert client.take() == []


@pytest.mark.parametrize(("request_name", "arguments"), CHANGES)
def test_only_root_and_the_daemons_user_change_anything(
    world: World, request_name: str, arguments: dict[str, object]
) -> None:
    other = world.client(Credentials(1, ALLOWED_UID, ALLOWED_UID))
    assert other.refused(request_name, **arguments)[0] == "access"
    assert other.ok("config_show") == {"version": 7}
    assert configuration(world).asked == []
    own = world.client(Credentials(2, DAEMON_UID, DAEMON_UID))
    own.ask(request_name, **arguments)
    assert len(configuration(world).asked) == 1


@pytest.mark.parametrize(
    ("request_name", "arguments"),
    [*CHANGES, ("config_show", {}), ("config_history", {}), ("config_validate", {"text": "t"})],
)
def test_a_cluster_that_is_kept_by_hand_has_nothing_of_this(request_name: str, arguments: dict[str, object]) -> None:
    world = World()
    world.form(1)
    code, message = world.client().refused(request_name, **arguments)
    assert code == "not_supported"
    assert "kept by hand" in message


@pytest.mark.parametrize(
    ("request_name", "arguments", "word"),
    [
        ("config_propose", {}, '"text" is missing'),
        ("config_propose", {"text": ""}, "1 to 262144 characters"),
        ("config_propose", {"text": "x" * 262_145}, "1 to 262144 characters"),
        ("config_propose", {"text": "t", "base_version": -1}, '"base_version"'),
        ("config_propose", {"text": "t", "rollback_after_s": 0}, '"rollback_after_s"'),
        ("config_rollback", {"version": "7"}, '"version"'),
        ("config_validate", {"text": b"t"}, '"text"'),
        ("config_rotate_key", {"now": True}, "unknown argument"),
    ],
)
def test_arguments_are_checked(
    world: World, client: Client, request_name: str, arguments: dict[str, object], word: str
) -> None:
    code, message = client.refused(request_name, **arguments)
    assert code == "bad_request"
    assert word in message
    assert configuration(world).asked == []
