"""Tickets: what a new node needs to knock at a cluster's door (protocol/, chapter "Joining").

    totemd1- and, in base64url without padding, msgpack of
    {c: [[address, port], ...], f: SHA-256 of the member's certificate, s: secret, n: cluster name, e: expiry, v: votes}

Whoever has the text may join once, until it expires. The member keeps the secret's hash only.
"""

import base64
import binascii
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Final

import msgpack

from totemd.cluster.nodelist_text import check_cluster_name
from totemd.errors import OperatorError
from totemd.limits import VOTES_MAX
from totemd.record import record

PREFIX: Final = "totemd1-"
TICKET_SIZE_MAX: Final = 2048
"""Characters of a ticket's text."""

SECRET_SIZE: Final = 32
FINGERPRINT_SIZE: Final = 32
CONTACTS_MAX: Final = 16
EXPIRES_MAX: Final = 1 << 40


class BadTicket(OperatorError):
    """A text that is no ticket of ours, or no valid one any more; says what to do."""


@record
class Ticket:
    """One invitation. `contacts` are (numeric address, TCP port); `expires` is unix seconds of the member's clock;
    `votes` is how many the new node may have, at most."""

    contacts: tuple[tuple[str, int], ...]
    fingerprint: bytes
    secret: bytes
    cluster: str
    expires: int
    votes: int = 1

    def to_text(self) -> str:
        """The text that people carry."""
        fields = {
            "c": [list(contact) for contact in self.contacts],
            "f": self.fingerprint,
            "s": self.secret,
            "n": self.cluster,
            "e": self.expires,
            "v": self.votes,
        }
        return PREFIX + base64.urlsafe_b64encode(msgpack.packb(fields)).decode().rstrip("=")

    @property
    def digest(self) -> bytes:
        """How the member knows the secret again."""
        return secret_digest(self.secret)


def secret_digest(secret: bytes) -> bytes:
    """What is kept of a ticket's secret."""
    return sha256(b"totemd ticket 1" + secret).digest()


def parse_ticket(text: str) -> Ticket:
    """The ticket in `text`, which may have been broken into lines. BadTicket: what is wrong with it."""
    if len(text) > 2 * TICKET_SIZE_MAX:
        raise BadTicket(
            f"this is no ticket: it has {len(text)} characters, and no ticket has more than {TICKET_SIZE_MAX}"
        )
    text = "".join(text.split())
    if not text.startswith(PREFIX):
        raise BadTicket(
            f'this is no ticket: it does not begin with "{PREFIX}"; copy the whole line that invite printed'
        )
    try:
        return _read(_decoded(text[len(PREFIX) :]))
    except (ValueError, TypeError, OperatorError, binascii.Error):
        raise BadTicket("this ticket is damaged or incomplete; copy the whole line that invite printed") from None


def _decoded(body: str) -> dict[Any, Any]:
    data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    fields = msgpack.unpackb(
        data, max_str_len=256, max_bin_len=64, max_array_len=CONTACTS_MAX, max_map_len=16, strict_map_key=True
    )
    if not isinstance(fields, dict):
        raise ValueError("no map")
    return fields


def _read(fields: dict[Any, Any]) -> Ticket:
    contacts, cluster, expires, votes = (fields.get(key) for key in "cnev")
    if not isinstance(contacts, list) or not contacts:
        raise ValueError("no contacts")
    if type(cluster) is not str or type(expires) is not int or not 0 < expires < EXPIRES_MAX:
        raise ValueError("no cluster, or no expiry")
    if type(votes) is not int or not 0 <= votes <= VOTES_MAX:
        raise ValueError("no votes")
    check_cluster_name(cluster)
    return Ticket(
        contacts=tuple(_contact(contact) for contact in contacts),
        fingerprint=_octets(fields.get("f"), FINGERPRINT_SIZE),
        secret=_octets(fields.get("s"), SECRET_SIZE),
        cluster=cluster,
        expires=expires,
        votes=votes,
    )


def _contact(value: object) -> tuple[str, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("no contact")
    address, port = value
    if type(address) is not str or type(port) is not int or not 0 < port < 65536:
        raise ValueError("no contact")
    return str(ip_address(address)), port


def _octets(value: object, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise ValueError(f"not {size} bytes")
    return value
