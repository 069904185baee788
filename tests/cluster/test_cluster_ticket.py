"""Tickets: what people carry, and what a member remembers of it. The text comes from anybody."""

import base64

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from totemd.cluster.ticket import PREFIX, BadTicket, Ticket, parse_ticket, secret_digest
from totemd.cluster.tickets import KEPT_S, TICKETS_MAX, IssuedTicket, Tickets, TooManyTickets

TICKET = Ticket((("192.0.2.1", 5406), ("2001:db8::1", 5406)), b"f" * 32, b"s" * 32, "sea", 1_800_000_000, 3)

FIELDS = {"c": [["192.0.2.1", 5406]], "f": b"f" * 32, "s": b"s" * 32, "n": "sea", "e": 1_800_000_000, "v": 1}


def text_of(fields: object) -> str:
    return PREFIX + base64.urlsafe_b64encode(msgpack.packb(fields)).decode().rstrip("=")


def test_there_and_back() -> None:
    text = TICKET.to_text()
    assert parse_ticket(text) == TICKET
    assert text.isascii()
    assert not set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def test_a_ticket_that_was_broken_into_lines() -> None:
    text = TICKET.to_text()
    assert parse_ticket(f"  {text[:50]}\n  {text[50:]}\r\n") == TICKET


def test_a_ticket_of_another_implementation() -> None:
    assert parse_ticket(text_of(FIELDS)).contacts == (("192.0.2.1", 5406),)
    # Keys that a later version adds.
    assert parse_ticket(text_of({**FIELDS, "x": 1})).cluster == "sea"


@pytest.mark.parametrize(
    "change",
    [
        {"c": []},
        {"c": [["192.0.2.1", 0]]},
        {"c": [["host.example", 5406]]},
        {"c": [["192.0.2.1", 5406, 1]]},
        {"c": [["192.0.2.1", True]]},
        {"c": [["192.0.2.1", 5406]] * 17},
        {"c": "192.0.2.1"},
        {"f": b"f" * 31},
        {"f": "f" * 32},
        {"s": b""},
        {"n": "a-name-too-long1"},
        {"n": ""},
        {"n": "sea\n"},
        {"n": None},
        {"e": 0},
        {"e": -1},
        {"e": 1 << 50},
        {"e": 1.5},
        {"v": -1},
        {"v": 1 << 31},
        {"v": True},
    ],
)
def test_fields_that_are_wrong(change: dict[str, object]) -> None:
    with pytest.raises(BadTicket, match="damaged"):
        parse_ticket(text_of({**FIELDS, **change}))


@pytest.mark.parametrize("field", list(FIELDS))
def test_fields_that_are_missing(field: str) -> None:
    with pytest.raises(BadTicket, match="damaged"):
        parse_ticket(text_of({key: value for key, value in FIELDS.items() if key != field}))


@given(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60).map(lambda data: text_of(data)),
        st.text(max_size=60).map(lambda text: PREFIX + text),
    )
)
@settings(max_examples=100)
def test_other_texts(text: str) -> None:
    with pytest.raises(BadTicket):
        parse_ticket(text)


def test_texts_of_any_size_and_depth() -> None:
    for text in (
        "x" * 10_000_000,
        PREFIX + "A" * 3000,
        text_of(b"\x91" * 1500),
        PREFIX + base64.b64encode(b"\x91" * 1500).decode(),
    ):
        with pytest.raises(BadTicket):
            parse_ticket(text)


def test_every_character_counts() -> None:
    """A ticket that was mistyped is damaged, or has another secret; it is never the same."""
    text = TICKET.to_text()
    for place in range(len(PREFIX), len(text) - 1, 7):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        try:
            assert parse_ticket(changed) != TICKET
        except BadTicket:
            continue


# what the member remembers


def issued(number: int, expires: int = 100) -> IssuedTicket:
    return IssuedTicket(secret_digest(b"%d" % number), expires)


def test_the_secret_is_not_kept() -> None:
    tickets = Tickets()
    tickets.add(IssuedTicket(TICKET.digest, 100), 0)
    assert TICKET.secret not in tickets.to_bytes()
    assert TICKET.secret.hex().encode() not in tickets.to_bytes()


def test_tickets_survive_their_file() -> None:
    tickets = Tickets()
    tickets.add(issued(1), 0)
    tickets.add(IssuedTicket(secret_digest(b"2"), 200, "ling", votes=3), 0)
    tickets.use(secret_digest(b"1"), b"u" * 16)
    again = Tickets.parse(tickets.to_bytes())
    assert again.find(secret_digest(b"1")) == IssuedTicket(secret_digest(b"1"), 100, None, b"u" * 16)
    assert again.find(secret_digest(b"2")) == IssuedTicket(secret_digest(b"2"), 200, "ling", None, 3)
    assert again.find(secret_digest(b"3")) is None


def test_use_and_release() -> None:
    tickets = Tickets()
    tickets.add(issued(1), 0)
    tickets.use(secret_digest(b"1"), b"u" * 16)
    tickets.release(b"v" * 16)
    found = tickets.find(secret_digest(b"1"))
    assert found is not None
    assert found.used_by == b"u" * 16
    tickets.release(b"u" * 16)
    found = tickets.find(secret_digest(b"1"))
    assert found is not None
    assert found.used_by is None


def test_the_door_closes_with_the_last_ticket() -> None:
    tickets = Tickets()
    assert tickets.open_until(0) == 0
    tickets.add(issued(1, 100), 0)
    tickets.add(issued(2, 50), 0)
    assert [tickets.open_until(now) for now in (0, 60, 99, 100)] == [100, 100, 100, 0]


def test_tickets_are_bounded() -> None:
    tickets = Tickets()
    for number in range(TICKETS_MAX):
        tickets.add(issued(number), 0)
    with pytest.raises(TooManyTickets):
        tickets.add(issued(TICKETS_MAX), 0)
    # Used ones make room, and so do expired ones; who used one is remembered for a while.
    tickets.use(secret_digest(b"0"), b"u" * 16)
    tickets.add(issued(TICKETS_MAX), 0)
    for number in range(1000, 1000 + 3 * TICKETS_MAX):
        tickets.add(issued(number, 200 + number), number + 200)
    assert len(tickets.to_bytes()) < 2 * TICKETS_MAX * 400
    tickets.forget_old(10_000 + KEPT_S)
    assert tickets.to_bytes() == b"[]\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[1]",
        b"[{}]",
        b'[{"digest": "zz", "expires": 1, "node_name": null, "used_by": null, "votes": 1}]',
        b"\xff",
    ],
)
def test_files_that_are_no_tickets(data: bytes) -> None:
    if data == b"{}":
        data = b'{"a": 1}'
    with pytest.raises(ValueError, match=r"."):
        Tickets.parse(data)
