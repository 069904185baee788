"""Real daemons on loopback, without root: a cluster is made, nodes join, leave, are removed and come back."""

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from totemd.cluster.join_messages import Hello, Message, Refused, Report, Reservation, decode, encode
from totemd.cluster.probe import ProbeOrder
from totemd.cluster.ticket import Ticket, parse_ticket
from totemd.seal.keys import KeyRing
from totemd_lab.machines import Machine, Machines, cluster_of, settled, ticket, wait_until


@pytest.fixture
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    # Short, because the path of a Unix socket may have 107 bytes.
    made = Machines(tmp_path_factory.mktemp("m"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A cluster of one node, hake, which stays one: what is tried with it is refused. The last test is an exception."""
    made = Machines(tmp_path_factory.mktemp("o"))
    try:
        made.create(made.add("hake", 1), token_ms=2000)
        yield made
    finally:
        made.close()


def unmoved(machines: list[Machine]) -> list[Any]:
    """What must not change for the others because of somebody who does not belong: votes, members, configuration."""
    found = [machine.status() for machine in machines]
    return [(status["votes"], status["members"]) for status in found] + [
        machine.config.read_bytes() for machine in machines
    ]


def no_ring_formed(machines: list[Machine], logged_before: list[int]) -> None:
    """Since then; but for rings that a machine formed which was too busy to pass the token on."""
    for machine, before in zip(machines, logged_before, strict=True):
        news = machine.log.read_text()[before:]
        assert " formed: " not in news or "the token was lost" in news, news


def test_the_life_of_a_cluster(machines: Machines) -> None:
    hake, ling = machines.add("hake", 1), machines.add("ling", 2)
    machines.create(hake, token_ms=2000)
    first = ticket(hake)
    hake.run("create", "sea", *hake.files, status=1)
    assert "node 2 (ling) of sea" in ling.join(first)
    settled([hake, ling])
    tope = machines.add("tope", 3)
    assert json.loads(tope.join(ticket(hake, "--node-name", "tope"), "--json").splitlines()[-1])["nodeid"] == 3
    settled([hake, ling, tope])
    for machine in (hake, ling, tope):
        assert [file.stat().st_mode & 0o777 for file in (machine.key, machine.state / "identity")] == [0o600, 0o600]

    # What is refused, and changes nothing.
    before = unmoved([hake, ling, tope])
    pike = machines.add("pike", 4)
    assert "has been used" in pike.join(first, status=1)
    assert "is this node" in hake.run("remove", "hake", status=1)
    assert "is a member now" in hake.run("remove", "tope", status=1)
    assert "no node of this cluster" in hake.run("remove", "cod", status=1)
    assert "is a node already" in tope_joins_again(tope, hake)
    assert unmoved([hake, ling, tope]) == before
    assert not pike.config.exists()
    assert not (pike.state / "identity").exists()

    # R09, R08: removed while it is off, it comes back with its old disk and moves nobody.
    tope.stop()
    wait_until(lambda: len(hake.status()["members"]) == 2, 20, hake.log_tail())
    before_key = hake.key.read_bytes()
    assert "is removed" in hake.run("remove", "tope")
    settled([hake, ling])
    wait_until(lambda: hake.key.read_bytes() != before_key, 10, hake.log_tail())
    assert "removed already" in hake.run("remove", "tope", status=1)
    before = unmoved([hake, ling])
    logged_before = [len(machine.log.read_text()) for machine in (hake, ling)]
    tope.start()
    wait_until(lambda: tope.logged("was removed from the cluster"), 15, tope.log_tail())
    wait_until(lambda: hake.logged("node 3 (tope) is refused (removed)"), 15, hake.log_tail())
    time.sleep(1.0)
    status = tope.status()
    assert (status["quorate"], len(status["members"])) == (False, 1)
    assert unmoved([hake, ling]) == before
    no_ring_formed([hake, ling], logged_before)
    tope.stop()

    # Its own name is free; as a new node it is welcome.
    assert "node 4 (tope)" in tope.join(ticket(ling), "--replace")
    settled([hake, ling, tope])

    # Leaving: nobody loses quorum, and the others get another key.
    before_key = hake.key.read_bytes()
    said = json.loads(tope.run("leave", "--json").splitlines()[-1])
    assert (said["nodeid"], said["ended"]) == (4, True)
    settled([hake, ling])
    wait_until(lambda: hake.key.read_bytes() != before_key, 10, hake.log_tail())
    assert not hake.logged("non-primary")

    # Whoever makes another cluster at their multicast address is warned: the key keeps the two apart.
    group = hake.config.read_text().partition("mcastaddr: ")[2].split()[0]
    options = ["--address", pike.address, "--mcast-addr", group, "--mcast-port", str(machines.port), *pike.files]
    assert "another cluster" in pike.run("create", "lake", *options)


def tope_joins_again(tope: Machine, hake: Machine) -> str:
    """A join on a machine that is a node, whose daemon is not running as far as the command can see."""
    words = [word for word in tope.join_words(ticket(hake)) if word]
    done = subprocess.run(
        [*tope.command(*words), "--socket", str(tope.directory / "no.sock")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


def test_remove_by_force_and_without_quorum(machines: Machines) -> None:
    hake, ling = cluster_of(machines, "hake", "ling")
    ling.stop(signal.SIGKILL)
    wait_until(lambda: not hake.status()["quorate"], 15, hake.log_tail())
    before = hake.config.read_bytes()
    for words in (["remove", "ling"], ["leave"], ["invite"]):
        assert "no quorum" in hake.run(*words, status=2)
    assert hake.config.read_bytes() == before
    ling.start()
    settled([hake, ling])
    lost = hake.log.read_text().count("non-primary")
    assert "is removed" in hake.run("remove", "ling", "--force")
    settled([hake])
    wait_until(lambda: not ling.running, 10, ling.log_tail())
    # Its votes went before it did: of two nodes one could not have removed the other else.
    assert hake.log.read_text().count("non-primary") == lost


def test_the_last_node_cannot_leave(one: Machines) -> None:
    hake = one.all["hake"]
    assert "only node" in hake.run("leave", status=1)
    assert hake.is_settled(1)


def test_tickets_that_are_not_right(one: Machines) -> None:
    hake, ling = one.all["hake"], one.add("rudd", 2)
    right = parse_ticket(ticket(hake))
    before = unmoved([hake])

    def joins(given: Ticket | str) -> str:
        text = given if isinstance(given, str) else given.to_text()
        return ling.join(text, "--timeout", "1", status=1)

    forged = Ticket(right.contacts, bytes(32), right.secret, right.cluster, right.expires)
    assert "its certificate is another one. Nothing was told to it" in joins(forged)
    guessed = Ticket(right.contacts, right.fingerprint, os.urandom(32), right.cluster, right.expires)
    assert "not known here" in joins(guessed)
    assert "does not begin" in joins("totemd2-AAAA")
    assert "damaged" in joins(right.to_text()[:-9])
    expired = ticket(hake, "--ttl", "1")
    time.sleep(1.2)
    assert "has expired" in joins(expired)
    assert "cannot reach the member" in joins(
        Ticket((("127.0.0.1", 1),), right.fingerprint, right.secret, right.cluster, right.expires)
    )
    assert 'is for the node "tope"' in joins(ticket(hake, "--node-name", "tope"))
    assert unmoved([hake]) == before
    assert not ling.config.exists()


def test_r07_duplicates(one: Machines) -> None:
    hake, pike = one.all["hake"], one.add("pike", 2)
    before = unmoved([hake])
    text = ticket(hake)
    for more, told in (
        (["--node-name", "HAKE"], "the name"),
        (["--address", "127.0.0.1"], "the address"),
        (["--node-id", "1"], "node id 1"),
    ):
        assert told in pike.join(text, *more, status=1)
        assert not pike.config.exists()
    assert unmoved([hake]) == before


def test_a_way_that_is_blocked_is_named(one: Machines) -> None:
    """The joiner's port is taken, as by a daemon that runs there: nothing can be proven, and nothing is changed."""
    hake, ling = one.all["hake"], one.add("cod", 2)
    before = unmoved([hake])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((ling.address, one.port))
        assert "is another daemon" in ling.join(ticket(hake), status=1)
    assert unmoved([hake]) == before


def test_what_create_refuses_and_shows(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "hake", 1)
    options = ["--address", "127.0.0.1", *machine.files]
    assert "has 17 characters; at most 15" in machine.run("create", "YOUR-CLUSTER-NAME", *options, status=1)
    assert "is no cluster name" in machine.run("create", "sea_1", *options, status=1)
    assert "no interface has" in machine.run("create", "sea", "--address", "192.0.2.77", *machine.files, status=1)
    machine.run("create", "sea", "--votes", "0", *options, status=64)
    shown = machine.run("create", "sea", "--dry-run", *options)
    assert "cluster_name: sea" in shown
    assert not machine.config.exists()
    assert not machine.state.exists()
    said = json.loads(machine.run("create", "x", "--transport", "udpu", *options, "--json"))
    assert (said["nodeid"], said["warnings"]) == (1, [])
    assert "is a node already" in machine.run("create", "sea", *options, status=1)


def test_strangers_at_the_door_cost_nothing(one: Machines) -> None:
    """Slow, silent, huge and senseless clients, plain and in TLS: they are cut off, and a node joins meanwhile."""
    hake, ling = one.all["hake"], one.add("ling", 2)
    text = ticket(hake)
    known = parse_ticket(text)
    contact = known.contacts[0]
    silent = [socket.create_connection(contact, 5) for _ in range(40)]
    try:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + os.urandom(500), os.urandom(5000)):
            with socket.create_connection(contact, 5) as plain:
                plain.sendall(data)
        for first in (b"\xff\xff\xff\xff", b"\x00\x00\x08\x01" + bytes(2049), b"\x00\x00\x00\x02\x91\x91"):
            with secured(contact) as stream:
                stream.sendall(first)
                assert stream.recv(100) == b""
        with secured(contact) as stream:
            stranger = Hello(1, os.urandom(32), "sea", "x", b"u" * 16, b"k" * 32, "127.0.0.9", 1, None)
            stream.sendall(encode(stranger))
            answer = decode(stream.recv(65536)[4:])
            assert isinstance(answer, Refused)
            assert answer.code == "ticket"
        # The ticket from standard input, where no list of processes shows it.
        ling.run(*[word if word != "T" else "-" for word in ling.join_words("T")], text=text + "\n")
        ling.adopt()
        settled([hake, ling])
    finally:
        for connection in silent:
            connection.close()
    assert not hake.logged("Traceback")
    assert base64.b64encode(known.secret).decode() not in hake.log.read_text()


def test_who_breaks_off_its_join_is_left_without_a_key(machines: Machines) -> None:
    hake = machines.add("hake", 1)
    machines.create(hake, token_ms=2000)
    text = ticket(hake)
    known = parse_ticket(text)
    before_key = hake.key.read_bytes()
    with secured(known.contacts[0]) as stream:
        key = X25519PrivateKey.generate().public_key().public_bytes_raw()
        stream.sendall(encode(Hello(1, known.secret, "sea", "eve", b"u" * 16, key, "127.0.0.9", 1, None)))
        assert isinstance(said(stream), ProbeOrder)
        with secured(known.contacts[0]) as second:
            second.sendall(encode(Hello(1, known.secret, "sea", "adam", b"v" * 16, key, "127.0.0.8", 1, None)))
            answer = said(second)
            assert isinstance(answer, Refused)
            assert answer.code == "busy"
        stream.sendall(encode(Report(())))
        reservation = said(stream)
        assert isinstance(reservation, Reservation)
        assert KeyRing.parse(reservation.keys).sending == KeyRing.parse(before_key).sending
    wait_until(lambda: hake.key.read_bytes() != before_key, 15, hake.log_tail())
    wait_until(lambda: "eve" not in hake.config.read_text(), 5, hake.log_tail())
    # With its ticket it is as before.
    ling = machines.add("ling", 2)
    ling.run(*ling.join_words(text))
    ling.adopt()
    settled([hake, ling])


def test_a_node_that_is_counted_joins_no_more(machines: Machines) -> None:
    """Also when nobody waited for it: what a later join may write anew is not its files."""
    hake, ling = machines.add("hake", 1), machines.add("ling", 2)
    machines.create(hake, token_ms=2000)
    words = ling.join_words(ticket(hake))
    at = words.index("--start")
    ling.run(*words[:at], "--no-start", *words[at + 2 :])
    assert (ling.state / "joining").exists()
    ling.start()
    settled([hake, ling])
    wait_until(lambda: not (ling.state / "joining").exists(), 5, ling.log_tail())


def said(stream: ssl.SSLSocket) -> Message:
    """The next message."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
        part = stream.recv(65536)
        assert part
        data += part
    return decode(data[4:])


def secured(contact: tuple[str, int]) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(contact, 5))
