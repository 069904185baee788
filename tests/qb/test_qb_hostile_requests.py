"""Requests of any content, to all services of a whole node: answered or not, never more than that."""

from collections.abc import Sequence
from struct import Struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_configuration import small_configuration
from totemd.ipc.ports import Credentials
from totemd.node import Node
from totemd.node.effects import NodeEffect
from totemd.qb.api import QbService
from totemd.qb.codec import REQUEST_HEADER, RESPONSE_HEADER
from totemd.qb.services import QB_SERVICES

WORDS = st.lists(st.one_of(st.sampled_from((0, 1, 2, 3, 4, 5, 16, 255, 2**31, 2**32 - 1)), st.integers(0, 2**32 - 1)))
KEYS = st.sampled_from((b"totem.token", b"nodelist.", b"stats.ipcs.", b"user.x", b"\xff\xfe", b"a" * 256, b""))


def _words(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def _named(key: bytes, rest: list[int]) -> bytes:
    """As the requests of cmap and cpg begin."""
    return Struct("=H6x256s").pack(min(len(key), 65535), key) + _words(rest)


BODIES = st.one_of(
    st.binary(max_size=700),
    st.builds(_words, WORDS),
    st.builds(lambda size, byte: bytes([byte]) * size, st.integers(0, 9000), st.integers(0, 255)),
    st.builds(_named, KEYS, WORDS),
)
REQUESTS = st.lists(st.tuples(st.integers(-3, 14), BODIES, st.integers(-40, 40)), min_size=1, max_size=40)


class Link:
    """A client that reads everything."""

    message_max = 1048576

    def __init__(self) -> None:
        self.responses = 0

    def put_response(self, message: bytes) -> bool:
        assert RESPONSE_HEADER.unpack_from(message)[1] == len(message) <= self.message_max
        self.responses += 1
        return True

    def put_event(self, message: bytes) -> bool:
        assert RESPONSE_HEADER.unpack_from(message)[1] == len(message) <= self.message_max
        return True

    def put_events(self, messages: Sequence[bytes]) -> int:
        return sum(map(self.put_event, messages))

    def set_flow(self, word: int) -> None:
        pass


def formed_node() -> tuple[Node, float]:
    """A node alone in its ring."""
    effects: list[NodeEffect] = []
    now = 100.0
    node = Node(
        small_configuration("10.0.0.1", totem="token: 200\nconsensus: 240\njoin: 30"),
        stored_ring_seq=4,
        tracked_expected_votes=None,
        incarnation="a1",
        own_uid=0,
        random=lambda: 0.5,
        emit=effects.append,
        now=now,
    )
    node.start(now)
    return node, run(node, now)


def run(node: Node, now: float) -> float:
    """Let two seconds go by."""
    end = now + 2
    while node.next_deadline() <= end:
        now = max(now, node.next_deadline())
        node.handle_timer(now)
    return end


@pytest.mark.parametrize("service", QB_SERVICES.values(), ids=QB_SERVICES)
@settings(max_examples=60)
@given(requests=REQUESTS)
def test_any_request_is_survived(service: QbService, requests: list[tuple[int, bytes, int]]) -> None:
    node, now = formed_node()
    link = Link()
    session = node.qb.open(service, Credentials(1, 0, 0), link)
    for ident, body, lie in requests:
        node.set_time(now)
        size = REQUEST_HEADER.size + len(body)
        size += lie if lie % 3 == 0 else 0
        if session.accepts:
            before = link.responses
            session.receive(REQUEST_HEADER.pack(ident, size) + body)
            assert link.responses <= before + 1
        node.qb.tell_flow()
        session.flush()
    assert session.closing in (None, "")
    now = run(node, now)
    node.qb.close(session)
    run(node, now)
