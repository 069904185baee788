"""Datagrams that arrived together: messages, ordering tokens, asks for them, joins, commit tokens, in this order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from totemd.node.arrival import Datagram, arrange
from totemd.wire.packets import PacketType

RANKS = {
    PacketType.MCAST: 0,
    PacketType.MERGE_DETECT: 0,
    PacketType.HOLD_CANCEL: 0,
    PacketType.TOKEN_TAKEN: 0,
    PacketType.ORF_TOKEN: 1,
    PacketType.TOKEN_LOAN: 1,
    PacketType.TOKEN_ASK: 2,
    PacketType.JOIN: 3,
    PacketType.COMMIT_TOKEN: 4,
}


def datagram(kind: PacketType, number: int) -> Datagram:
    return bytes((0x70, 0xC0, 3, kind)) + number.to_bytes(4, "little"), "10.0.0.1"


def rank(one: Datagram) -> int:
    return RANKS[PacketType(one[0][3])]


@given(st.lists(st.sampled_from(list(PacketType)), max_size=30))
def test_messages_then_tokens_then_joins_then_commit_tokens(kinds: list[PacketType]) -> None:
    arrived = [datagram(kind, number) for number, kind in enumerate(kinds)]
    arranged = arrange(arrived)
    ranks = [rank(one) for one in arranged]
    assert ranks == sorted(ranks)
    for wanted in range(5):
        assert [one for one in arranged if rank(one) == wanted] == [one for one in arrived if rank(one) == wanted]


@given(st.lists(st.tuples(st.binary(max_size=6), st.text(max_size=5))))
def test_nothing_is_lost_whatever_arrives(arrived: list[Datagram]) -> None:
    assert Counter(arrange(arrived)) == Counter(arrived)
