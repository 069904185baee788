"""R06 with real daemons on loopback: kill -9 of either side of a join at each piece of the conversation, and again."""

import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from totemd.cluster.ticket import Ticket, parse_ticket
from totemd_lab.machines import Machines, cluster_of, settled, ticket, wait_until


@pytest.fixture
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    # Short, because the path of a Unix socket may have 107 bytes.
    made = Machines(tmp_path_factory.mktemp("m"))
    try:
        yield made
    finally:
        made.close()


class Relay:
    """Between joiner and member: passes on what both say, and acts before the piece number `at`."""

    def __init__(self, to: tuple[str, int], at: int) -> None:
        self._to = to
        self._at = at
        self.pieces = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.contact = ("127.0.0.1", self._listening.getsockname()[1])

    def start(self, action: Callable[[], None]) -> None:
        """Begin; `action` is what is to be done."""
        self._action = action
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            try:
                with one, socket.create_connection(self._to, 5) as other:
                    self._pass(one, other)
            except OSError:
                continue

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        while True:
            for source in select.select([one, other], [], [])[0]:
                data = source.recv(65536)
                if self.pieces == self._at:
                    self._action()
                self.pieces += 1
                if not data:
                    return
                (other if source is one else one).sendall(data)

    def close(self) -> None:
        self._listening.close()


def through(relay: Relay, text: str) -> str:
    """The same ticket with another contact."""
    known = parse_ticket(text)
    return Ticket((relay.contact,), known.fingerprint, known.secret, known.cluster, known.expires).to_text()


PIECES = 11
"""What is said in a join, in pieces as the relay sees them: the TLS handshake, and each message."""


def test_r06_the_joiner_dies_at_every_step(machines: Machines) -> None:
    """kill -9 of the joiner at each piece of the conversation: the member keeps its quorum and its votes, and in the
    end a retry with the very same ticket succeeds."""
    [hake] = cluster_of(machines, "hake")
    ling = machines.add("ling", 2)
    text = ticket(hake)
    contact = parse_ticket(text).contacts[0]
    for step in range(1, PIECES):
        relay = Relay(contact, step)
        joins = subprocess.Popen(
            ling.command(*ling.join_words(through(relay, text))),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        relay.start(joins.kill)
        joins.wait(20)
        relay.close()
        ling.adopt()
        if ling.running:
            break
        assert relay.pieces > step, "it ended before"
        status = hake.status()
        assert (status["quorate"], status["votes"]["expected"]) == (True, 1)
    if joins.returncode:
        # Also one that died when its daemon ran already goes on from there.
        ling.join(text)
    settled([hake, ling])


def test_r06_the_member_dies_at_every_step(machines: Machines) -> None:
    """kill -9 of the only member at pieces of the conversation: it comes back quorate, knows its ticket, and in the end
    a retry with it succeeds."""
    [hake] = cluster_of(machines, "hake")
    ling = machines.add("ling", 2)
    text = ticket(hake)
    contact = parse_ticket(text).contacts[0]
    for step in (4, 7):
        relay = Relay(contact, step)
        relay.start(lambda: hake.signal(signal.SIGKILL))
        words = ling.join_words(through(relay, text), "--timeout", "0")
        # The last of --start and --no-start would count, so that no daemon runs yet.
        ling.run(*[word for word in words if word not in ("--start", ling.start_command)], "--no-start", status=None)
        relay.close()
        if relay.pieces <= step:
            # It was told at once what it had lost, which takes fewer words.
            break
        wait_until(lambda: not hake.running, 5, "it was killed")
        hake.start()
        wait_until(lambda: (found := hake.status()) and found["quorate"], 15, hake.log_tail())
        assert hake.status()["votes"]["expected"] == 1
    ling.join(text)
    settled([hake, ling])
    assert [node["nodeid"] for node in hake.ctl("nodes")["nodes"]] == [1, 2]
