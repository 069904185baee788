"""Receiver's half of the groups layer: packets into whole messages (protocol/, chapter "Groups").

Packets of one sender come in the order in which it made them, so one unfinished message per sender is all there can
be. Yet a ring change may come between its packets: what synchronization multicasts is then sent first, from a queue of
its own. Therefore there are two sets of unfinished messages, and `transitional` says which one is in use.

A node that joins hears first the middle of some message. It drops what it has no beginning of, and only that: the
messages that are packed behind are whole, and the other members deliver them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from totemd.ids import NodeId
from totemd.limits import PROCESSOR_COUNT_MAX, REASSEMBLY_SIZE_MAX
from totemd.wire.groups import decode_group_packet, middle_part


@dataclass(slots=True)
class ReassemblyStats:
    """What was dropped, and why."""

    unknown_tails: int = 0
    """Pieces of messages whose beginning this node has not heard."""
    unfinished: int = 0
    """Messages given up because the sender's next packet does not continue them."""
    too_long: int = 0
    """Messages given up because they outgrew the limit."""
    too_many_senders: int = 0
    """Beginnings of messages dropped because too many are unfinished."""


class _Unfinished:
    """A message of which parts have come; `number` is what the next packet must continue."""

    __slots__ = ("data", "number")

    def __init__(self, number: int, data: bytearray) -> None:
        self.number = number
        self.data = data


_Set: TypeAlias = dict[NodeId, _Unfinished]


class Reassembly:
    """The unfinished messages of all senders. Begins with the transitional set in use."""

    def __init__(self) -> None:
        self.stats = ReassemblyStats()
        self._regular: _Set = {}
        self._transitional: _Set = {}
        self.current = self._transitional
        """The set in use: what senders' next packets may continue. Not to be changed from outside."""

    @property
    def transitional(self) -> bool:
        """Which set is in use."""
        return self.current is self._transitional

    def switch(self, *, transitional: bool) -> None:
        """Use the other set from the next packet on; what is unfinished in this one waits for its return."""
        self.current = self._transitional if transitional else self._regular

    def forget(self, nodes: Iterable[NodeId]) -> None:
        """Drop what nodes that left have not finished: if they return, they start anew."""
        for node in nodes:
            self._regular.pop(node, None)
            self._transitional.pop(node, None)

    @property
    def unfinished_bytes(self) -> int:
        """Memory that unfinished messages take."""
        return sum(len(one.data) for part in (self._regular, self._transitional) for one in part.values())

    def take_middle(self, sender: NodeId, payload: bytes) -> bool:
        """Take a packet that only makes the sender's unfinished message longer. False, and nothing has changed: it is
        anything else."""
        waiting = self.current.get(sender)
        part = None if waiting is None else middle_part(payload)
        if waiting is None or part is None:
            return False
        fragmented, continuation, piece = part
        if continuation != waiting.number or len(waiting.data) + len(piece) > REASSEMBLY_SIZE_MAX:
            return False
        waiting.data += piece
        waiting.number = fragmented
        return True

    def receive(self, sender: NodeId, payload: bytes) -> list[bytes]:
        """The messages that this packet completes, in order. BadPacket if it is not valid; it then changes nothing."""
        packet = decode_group_packet(payload)
        current = self.current
        fragmented, continuation, pieces = packet.fragmented, packet.continuation, packet.pieces
        if not (fragmented or continuation or current):
            return pieces
        waiting = current.pop(sender, None)
        if waiting is not None and waiting.number != continuation:
            self.stats.unfinished += 1
            waiting = None
        if continuation:
            if waiting is None:
                self.stats.unknown_tails += 1
                del pieces[0]
            elif len(waiting.data) + len(pieces[0]) > REASSEMBLY_SIZE_MAX:
                self.stats.too_long += 1
                del pieces[0]
            elif fragmented and len(pieces) == 1:
                waiting.data.extend(pieces[0])
                waiting.number = fragmented
                current[sender] = waiting
                return []
            else:
                waiting.data.extend(pieces[0])
                pieces[0] = bytes(waiting.data)
        if fragmented and pieces:
            self._begin(current, sender, _Unfinished(fragmented, bytearray(pieces.pop())))
        return pieces

    def _begin(self, current: _Set, sender: NodeId, message: _Unfinished) -> None:
        if len(current) >= PROCESSOR_COUNT_MAX:
            self.stats.too_many_senders += 1
        else:
            current[sender] = message
