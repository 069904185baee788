"""Fuzz targets of joining: what strangers, joiners and members send, and what people paste."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Final

import msgpack

from chunking import chunk, chunks
from joining_world import NOW, World, identity, listed
from totemd.cluster.identity import BadIdentity, Identity
from totemd.cluster.join_messages import Hello, Message, Refused, Report, Reservation, Stored, Welcome, decode, encode
from totemd.cluster.joining import Joiner, Propose, Sponsor
from totemd.cluster.probe import ASK_ALONE, ASK_GROUP, Probe, ProbeOrder, Prober, Responder, probe_key, targets
from totemd.cluster.ticket import BadTicket, Ticket, parse_ticket
from totemd.cluster.tickets import Tickets
from totemd.errors import BadPacket

TO_MEMBER: Final = 0
TO_JOINER: Final = 1
CUT: Final = 2

CLUSTER: Final = b"c" * 16
SECRET: Final = b"s" * 32
OWN: Final = "192.0.2.9"


def joining(data: bytes) -> None:
    """Messages to a member and to a joiner, in any order: only who has the ticket changes anything."""
    world = World()
    ticket = world.issue()
    before = world.text
    sponsor, joiner = Sponsor(world, world.tickets, lambda: NOW), _joiner(ticket)
    shown = False
    for kind, body in chunks(data, 4096):
        speaker = sponsor
        if kind % 3 == CUT:
            actions = sponsor.disconnected()
            sponsor = Sponsor(world, world.tickets, lambda: NOW)
        else:
            try:
                message = decode(body)
            except BadPacket:
                continue
            assert decode(encode(message)[4:]) == message
            if kind % 3 == TO_JOINER:
                joiner.receive(message)
                continue
            shown = shown or (isinstance(message, Hello) and message.secret == ticket.secret)
            actions = sponsor.receive(message)
        while actions:
            action = actions.pop(0)
            if isinstance(action, Propose):
                actions += world.carry(speaker, action.kind)
    assert shown or world.text == before
    assert world.configuration.quorum.expected_votes == 1


def tickets_and_identities(data: bytes) -> None:
    """Texts that people paste, and files that somebody has edited."""
    with suppress(BadTicket):
        ticket = parse_ticket(data.decode("utf-8", "replace"))
        assert parse_ticket(ticket.to_text()) == ticket
    with suppress(BadIdentity):
        found = Identity.parse(data)
        assert Identity.parse(found.to_bytes()) == found
    with suppress(ValueError):
        tickets = Tickets.parse(data)
        assert Tickets.parse(tickets.to_bytes()).to_bytes() == tickets.to_bytes()


def join_probes(data: bytes) -> None:
    """Datagrams that come to a member, and to a joiner that probes."""
    responder = Responder(1, CLUSTER, lambda: [SECRET])
    prober = Prober(_order(), OWN)
    for _, datagram in chunks(data, 2048):
        answer = responder.answer(datagram, 0.0)
        if answer is not None:
            assert len(answer[1]) == len(datagram)
            assert responder.answer(answer[1], 0.0) is None
        prober.receive(datagram)
    assert len(prober.problems()) <= 1


def _joiner(ticket: Ticket) -> Joiner:
    node = listed(2)
    return Joiner(ticket, identity(2), name=node.name, address=node.address, votes=1, nodeid=None)


def _order() -> ProbeOrder:
    key = probe_key(SECRET, CLUSTER, b"p" * 16)
    return ProbeOrder(b"p" * 16, key, 5405, "239.192.1.1", 1, 200, targets([(1, "hake", "192.0.2.1")]))


def joining_seeds() -> dict[str, bytes]:
    """A whole join, and its beginnings."""
    world = World()
    ticket, node = world.issue(), listed(2)
    hello = Hello(1, ticket.secret, "sea", node.name, node.uuid, node.public_key, node.address, 1, None)
    to_member: tuple[Message, ...] = (hello, Report(()), Stored())
    to_joiner: tuple[Message, ...] = (_order(), Reservation(2, world.record(), b"keys", 300), Welcome())
    whole = [chunk(TO_MEMBER, encode(message)[4:]) for message in to_member]
    heard = [chunk(TO_JOINER, encode(message)[4:]) for message in to_joiner]
    cut = chunk(CUT, b"")
    stranger = replace(hello, secret=bytes(32))
    return {
        "whole": b"".join(whole),
        "heard": b"".join(heard),
        "given up": whole[0] + whole[1] + cut + whole[0],
        "unreachable": whole[0] + chunk(TO_MEMBER, encode(Report(("no way",)))[4:]),
        "stranger": chunk(TO_MEMBER, encode(stranger)[4:]),
        "refused": chunk(TO_JOINER, encode(Refused("busy", ("later",)))[4:]),
        "else": chunk(TO_MEMBER, msgpack.packb({"do": "hello"})),
    }


def ticket_seeds() -> dict[str, bytes]:
    """One of each."""
    world = World()
    return {
        "ticket": world.issue().to_text().encode(),
        "tickets": world.tickets.to_bytes(),
        "identity": identity(1).to_bytes(),
    }


def probe_seeds() -> dict[str, bytes]:
    """Questions, and an answer."""
    key = _order().key
    alone = Probe(ASK_ALONE, 0, b"p" * 16, 1, OWN).to_bytes(key, 100)
    group = Probe(ASK_GROUP, 0, b"p" * 16, 0, OWN).to_bytes(key, 100)
    answer = Responder(1, CLUSTER, lambda: [SECRET]).answer(alone, 0.0)
    assert answer is not None
    return {"asked": chunk(0, alone) + chunk(0, group), "answered": chunk(0, answer[1])}
