"""The order in which datagrams that arrived together are handled (protocol/, chapter "Ordering").

Data before tokens, lent ones too: else a message that is already here would look missing and be asked for again. Joins
and leaves after tokens: a membership change in front of a token that is already here would throw that token, and the
messages it accounts for, away. (corosync drops joins that arrive while it drains for a token; a lost leave costs it a
timeout.) Commit tokens last: it is often the join sent before one, to another socket, that makes it acceptable.
"""

from typing import TypeAlias

from totemd.wire.packets import PacketType

Datagram: TypeAlias = tuple[bytes, str]
"""Bytes and the numeric source address."""

_TYPE_OFFSET = 3
_RANKS: dict[int, int] = {
    PacketType.ORF_TOKEN: 1,
    PacketType.TOKEN_LOAN: 1,
    PacketType.TOKEN_ASK: 2,
    PacketType.JOIN: 3,
    PacketType.COMMIT_TOKEN: 4,
}


def arrange(datagrams: list[Datagram]) -> list[Datagram]:
    """Data, then ordering tokens, then asks for them, then joins, then commit tokens; each in order of arrival."""
    if len(datagrams) < 2:
        return datagrams
    return sorted(datagrams, key=_rank)


def _rank(datagram: Datagram) -> int:
    data = datagram[0]
    if len(data) <= _TYPE_OFFSET:
        return 0
    return _RANKS.get(data[_TYPE_OFFSET], 0)
