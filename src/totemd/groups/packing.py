"""Sender's half of the groups layer: whole messages into packets (protocol/, chapter "Groups").

Small messages share a packet, large ones are cut into pieces. Beyond what every receiver demands, the packer keeps two
rules. Their price is some room in packets; what they buy is that nobody loses a message for the way it was packed:

- Between two calls it holds whole messages only: `add` gives out all of a message that has to be cut. So whenever the
  ring changes from one send queue to the other, no message has its head in one queue and its tail in the other.
- A message that fits into one packet is never cut, and the packets of one that was hold nothing else. A corosync that
  joins the ring in the middle of a message throws away the packet with the message's tail, and all that is in it; and a
  message of which only a part could be sent before a ring ended can be sent again from its first packet on.
"""

from typing import Final

from totemd.record import record
from totemd.wire.groups import GROUP_PACKET_HEADER_SIZE, PIECE_OVERHEAD, Buffer, encode_group_packet, encode_part

FRAGMENT_NUMBER_MAX: Final = 255
"""After it comes 1: 0 means that nothing follows."""

PAYLOAD_SIZE_MIN: Final = 48
"""Bytes; less, and the flow control rule (which counts with 24 less) would not let a message of 1 MiB into a queue."""

PAYLOAD_SIZE_MAX: Final = 65535
"""Bytes; the length of a piece is a 16-bit number, and a datagram is no longer either."""


@record
class Payload:
    """A finished packet for the ring's send queue; `goes_on`: the next one continues its message."""

    data: bytes
    safe: bool
    goes_on: bool = False


class Packer:
    """Packs the messages of this node. Neither queues nor counts: what it returns must be queued, in order."""

    __slots__ = ("_pieces", "_safe", "_size", "payload_size")

    def __init__(self, payload_size: int) -> None:
        """`payload_size`: bytes of the largest packet to make (1410 for the default netmtu of 1500)."""
        if not PAYLOAD_SIZE_MIN <= payload_size <= PAYLOAD_SIZE_MAX:
            raise ValueError(f"payload size {payload_size} is not in {PAYLOAD_SIZE_MIN}..{PAYLOAD_SIZE_MAX}")
        self.payload_size = payload_size
        self._pieces: list[bytes] = []
        self._size = GROUP_PACKET_HEADER_SIZE
        self._safe = False

    @property
    def empty(self) -> bool:
        """True when `flush` has nothing to give."""
        return not self._pieces

    def packets_needed(self, size: int) -> int:
        """At most this many packets come of adding `size` bytes, the one that stays open after it included."""
        largest_piece = self.payload_size - GROUP_PACKET_HEADER_SIZE - PIECE_OVERHEAD
        return 1 - (-size // largest_piece)

    def add(self, head: bytes, data: Buffer, safe: bool) -> list[Payload]:
        """Pack the whole message that is `head` and `data`, not empty; returns the packets that are complete now."""
        size = len(head) + len(data)
        if not size:
            raise ValueError("a message has at least its group header")
        needed = PIECE_OVERHEAD + size
        joins = self._size + needed <= self.payload_size and safe == self._safe
        complete = [self._close()] if self._pieces and not joins else []
        # What is being packed, if anything still is, has room for it.
        if self._size + needed <= self.payload_size:
            self._pieces.append(head + data)
            self._size += needed
            self._safe = safe
        else:
            self._cut(head, data, safe, complete)
        return complete

    def flush(self) -> Payload | None:
        """Give out what is waiting for company, if anything is."""
        return self._close() if self._pieces else None

    def _close(self) -> Payload:
        payload = Payload(encode_group_packet(0, 0, self._pieces), self._safe)
        self._pieces = []
        self._size = GROUP_PACKET_HEADER_SIZE
        return payload

    def _cut(self, head: bytes, data: Buffer, safe: bool, complete: list[Payload]) -> None:
        """Fill packets with a message. Each of its bytes is copied once, into its packet."""
        room = self.payload_size - GROUP_PACKET_HEADER_SIZE - PIECE_OVERHEAD
        if len(head) >= room:
            head, data = b"", head + data
        rest = memoryview(data)
        begin = room - len(head)
        last = len(rest) - room
        complete.append(Payload(encode_part(1, 0, head + rest[:begin]), safe, goes_on=True))
        number = 1
        while begin < last:
            following = number % FRAGMENT_NUMBER_MAX + 1
            end = begin + room
            complete.append(Payload(encode_part(following, number, rest[begin:end]), safe, goes_on=True))
            begin = end
            number = following
        complete.append(Payload(encode_part(0, number, rest[begin:]), safe))
