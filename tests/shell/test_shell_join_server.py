"""The door for joining nodes: who is cut off, and who is turned away, when many are there."""

import ssl
from types import SimpleNamespace
from typing import Any

from totemd.shell.join_server import CONNECTIONS_MAX, JoinServer, _Visitor


def server_with(count: int, authenticated: int) -> JoinServer:
    unused: Any = None
    server = JoinServer(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), unused, unused, lambda level, text: None)
    for number in range(count):
        visitor = _Visitor()
        sponsor: Any = SimpleNamespace(authenticated=number < authenticated, ticket_digest=b"%d" % number)
        visitor.sponsor = sponsor
        server._visitors[visitor] = None
    return server


def test_strangers_make_room_and_who_showed_a_ticket_does_not() -> None:
    server = server_with(CONNECTIONS_MAX, CONNECTIONS_MAX - 1)
    assert server._make_room()
    assert len(server._visitors) == CONNECTIONS_MAX - 1
    assert not server_with(CONNECTIONS_MAX, CONNECTIONS_MAX)._make_room()


def test_one_conversation_with_a_ticket_at_once() -> None:
    server = server_with(2, 2)
    assert server._is_here(b"1")
    assert not server._is_here(b"2")
