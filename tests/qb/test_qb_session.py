"""One connection: admission, order, what waits, and what ends it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import BadRing, Code, ServiceError
from totemd.ipc import backlog
from totemd.ipc.backlog import Backlog
from totemd.ipc.ports import Credentials
from totemd.qb import session
from totemd.qb.api import Port, QbService
from totemd.qb.codec import REQUEST_HEADER, RESPONSE_HEADER, response
from totemd.qb.session import HOLD, RUN, QbSession

ECHO, REFUSED, LATER, MULTICAST, FULL = range(5)
SYNCHRONIZED = {"synchronizing": False, "critical": False}


class Echo:
    """A front."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.multicasts: list[bytes] = []
        self.full = False
        self.closed = 0

    def handle(self, function: int, message: bytes) -> bytes | None:
        if function == ECHO:
            return response(ECHO, Code.OK, message[REQUEST_HEADER.size :])
        if function == REFUSED:
            raise ServiceError(Code.EXIST, "no")
        if function == MULTICAST:
            if self.full:
                raise ServiceError(Code.TRY_AGAIN, "full")
            self.multicasts.append(message[REQUEST_HEADER.size :])
        elif function == FULL:
            raise ServiceError(Code.TRY_AGAIN, "full")
        return None

    def close(self) -> None:
        self.closed += 1


class FakeLink:
    """A client that reads when it is told to."""

    message_max = 1000

    def __init__(self) -> None:
        self.responses: list[bytes] = []
        self.events: list[bytes] = []
        self.words: list[int] = []
        self.room = 1_000_000
        self.broken = False

    def put_response(self, message: bytes) -> bool:
        return self._put(self.responses, message)

    def put_event(self, message: bytes) -> bool:
        return self._put(self.events, message)

    def put_events(self, messages: Sequence[bytes]) -> int:
        for count, message in enumerate(messages):
            if not self.put_event(message):
                return count
        return len(messages)

    def set_flow(self, word: int) -> None:
        self.words.append(word)

    def _put(self, where: list[bytes], message: bytes) -> bool:
        if self.broken:
            raise BadRing("spoilt")
        if not self.room:
            return False
        self.room -= 1
        where.append(message)
        return True


class World:
    """A session, its front, its client and its node."""

    def __init__(self, service_id: int = 2) -> None:
        self.queue_ready = True
        self.link = FakeLink()
        self.with_work: dict[QbSession, None] = {}
        services = cast(Any, SimpleNamespace(backlog=Backlog()))
        service = QbService("echo", service_id, 5, frozenset({MULTICAST}), frozenset({MULTICAST}), self._make)
        self.session = QbSession(service, services, Credentials(1, 2, 3), self.link, self, self.with_work)

    def _make(self, services: object, port: Port) -> Echo:
        self.front = Echo(port)
        return self.front

    def ask(self, ident: int, body: bytes = b"", size: int | None = None) -> tuple[int, int, int] | None:
        """The header of the response, if there is one."""
        before = len(self.link.responses)
        self.session.receive(
            REQUEST_HEADER.pack(ident, REQUEST_HEADER.size + len(body) if size is None else size) + body
        )
        assert len(self.link.responses) <= before + 1
        if len(self.link.responses) == before:
            return None
        return cast(tuple[int, int, int], RESPONSE_HEADER.unpack_from(self.link.responses[-1]))


@pytest.mark.parametrize(
    ("ident", "size", "code"),
    [
        (77, None, Code.INVALID_PARAM),
        (-1, None, Code.INVALID_PARAM),
        (-(1 << 31), None, Code.INVALID_PARAM),
        (ECHO, 25, Code.INVALID_PARAM),
        (ECHO, 15, Code.INVALID_PARAM),
        (ECHO, -1, Code.INVALID_PARAM),
        (REFUSED, None, Code.EXIST),
        (FULL, None, Code.TRY_AGAIN),
    ],
)
def test_refusals_are_bare_responses(ident: int, size: int | None, code: Code) -> None:
    world = World()
    assert world.ask(ident, b"12345678", size) == (0, 24, code)
    assert world.session.closing is None
    assert world.ask(ECHO, b"abc") == (ECHO, 27, Code.OK)


def test_bytes_behind_the_message_are_not_the_services() -> None:
    world = World()
    assert world.ask(ECHO, b"abcdef", 19) == (ECHO, 27, Code.OK)
    assert world.link.responses[-1][24:] == b"abc"


def test_client_says_goodbye() -> None:
    world = World()
    assert world.ask(-3) is None
    assert world.session.closing == ""
    assert world.session in world.with_work


def test_multicasts_without_room_wait_and_keep_their_order() -> None:
    """No client hears of a failed multicast, so that none may be lost."""
    world = World()
    world.queue_ready = False
    assert world.ask(MULTICAST, b"1") is None
    assert not world.session.accepts
    assert not world.session.flush()
    world.queue_ready = True
    world.front.full = True
    assert not world.session.flush()
    assert not world.session.accepts
    world.front.full = False
    assert world.session.flush()
    assert world.session.accepts
    world.ask(MULTICAST, b"2")
    assert world.front.multicasts == [b"1", b"2"]


@pytest.mark.parametrize(
    ("service_id", "synchronizing", "critical", "word"),
    [
        (2, False, False, RUN),
        (2, True, False, HOLD),
        (2, False, True, HOLD),
        (5, True, False, RUN),
        (5, True, True, HOLD),
    ],
)
def test_flow_word(service_id: int, synchronizing: bool, critical: bool, word: int) -> None:
    world = World(service_id)
    for _ in range(3):
        world.session.set_flow(synchronizing=synchronizing, critical=critical)
    assert world.session.flow == word
    assert world.session.accepts == (word == RUN)
    world.session.set_flow(**SYNCHRONIZED)
    assert world.link.words == ([HOLD, RUN] if word == HOLD else [])


def test_answer_that_comes_later() -> None:
    world = World()
    assert world.ask(LATER) is None
    world.front.port.send_event(b"event")
    world.front.port.respond(b"later")
    assert (world.link.responses, world.link.events) == ([b"later"], [b"event"])
    world.session.closed()
    world.front.port.respond(b"too late")
    world.front.port.send_event(b"too late")
    assert (world.link.responses, world.link.events) == ([b"later"], [b"event"])
    assert world.front.closed == 1


@given(steps=st.lists(st.one_of(st.just("event"), st.just("respond"), st.integers(0, 4))))
def test_everything_arrives_once_and_in_order(steps: list[str | int]) -> None:
    """Whenever the client makes room (a number: for so many messages)."""
    world = World()
    world.link.room = 0
    sent: dict[str, list[bytes]] = {"event": [], "respond": []}
    for number, step in enumerate(steps):
        if isinstance(step, int):
            world.link.room += step
            world.session.flush()
            continue
        message = str(number).encode()
        sent[step].append(message)
        if step == "event":
            world.session.send_event(message)
        else:
            world.session.respond(message)
        assert not world.session.has_queued or world.session in world.with_work
    world.link.room = len(steps)
    assert world.session.flush()
    assert (world.link.events, world.link.responses) == (sent["event"], sent["respond"])
    assert world.session.queued_bytes == 0


def test_a_lot_is_written_in_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "FLUSH_MAX", 5)
    world = World()
    world.link.room = 0
    for _ in range(12):
        world.session.send_event(b"e")
    world.link.room = 11
    done = [world.session.flush() or world.session.goes_on for _ in range(3)]
    assert (done, len(world.link.events)) == ([True, True, False], 11)
    world.link.room = 1
    assert world.session.flush()
    assert not world.session.goes_on


def test_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CLIENT_BACKLOG_BYTES_MAX", 5000)
    world = World()
    world.link.room = 0
    for _ in range(100):
        world.session.send_event(bytes(100))
    assert world.session.closing == "client does not read: 5100 bytes queued"
    assert world.session.queued_bytes == 5100
    assert world.session in world.with_work
    assert world.front.closed == 0
    world.session.closed()
    assert (world.session.queued_bytes, world.front.closed, world.with_work) == (0, 1, {})


def test_message_that_the_client_cannot_take_ends_the_connection() -> None:
    world = World()
    world.link.room = 0
    world.session.send_event(bytes(1001))
    assert world.session.closing == "a message of 1001 bytes is more than the client takes"


@pytest.mark.parametrize("how", ["respond", "send_event", "flush"])
def test_spoilt_memory_ends_the_connection_from_wherever_it_is_found(how: str) -> None:
    world = World()
    world.link.room = 0
    world.session.send_event(b"waits")
    world.with_work.clear()
    world.link.broken = True
    if how == "flush":
        assert not world.session.flush()
    else:
        world.session.respond(b"x")
    assert world.session.closing == "spoilt"
    assert world.session in world.with_work
    assert not world.session.flush()
    assert not world.session.accepts
