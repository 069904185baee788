"""The groups layer: messages for named groups above, the ring's packets below (protocol/, chapter "Groups").

    upper.message_delivered <- Reassembly <- packet_delivered        multicast -> Packer -> ring.submit

A new ring is used in two phases, and each has a send queue and a set of unfinished messages of its own. Until the
services are synchronized, their messages go through the transitional queue and set; what was half sent on the old ring
waits in the regular ones, and goes on after `synchronization_completed`. Senders and receivers switch at the same
place of the total order, so the packets of one queue meet one set:

- to transitional: a sender when the ring is installed, a receiver after the old ring's last packet
  (`switch_reassembly`), before which nothing of the new ring is delivered;
- to regular: both at the delivery of the last barrier of synchronization.

Four things could still go wrong, and do in corosync. A message could be cut by the sender's switch: the packer never
keeps a part of one. A message could be sent half on one ring and half on the next, whose new members never hear its
head: it is sent again as a whole, behind a packet that makes the old members forget their half. A packet could be left
in the transitional queue when the last barrier comes: there it would stay until the next synchronization. And a node
that is slow to deliver the last barrier could put a transitional packet behind it, which others then meet with their
regular set. Messages that do not belong to synchronization avoid both by waiting for its end:
`multicast(..., after_sync=True)`.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from totemd.errors import BadPacket
from totemd.groups.api import GroupsUpper, QueueLevel, RingPort
from totemd.groups.packing import Packer, Payload
from totemd.groups.reassembly import Reassembly
from totemd.ids import NodeId
from totemd.limits import MESSAGE_SIZE_MAX, SEND_QUEUE_BYTES
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.wire.groups import (
    SERVICE_GROUP,
    SYNC_GROUP,
    Buffer,
    decode_group_message,
    encode_group_packet,
    group_header,
    whole_bodies,
)

HELD_BYTES_MAX: Final = SEND_QUEUE_BYTES // 2
"""Messages that wait for the end of synchronization, bytes."""

_RESTART: Final = encode_group_packet(0, 0, [group_header(b"void")])
"""Begins no message and continues none, so it ends what is unfinished at every receiver; its message is for nobody."""

_SPARE_PACKETS: Final = 2
_FLOW_CONTROL_OVERHEAD: Final = 24
"""The flow control rule counts a message as if each packet had that many bytes less."""


@dataclass(slots=True)
class GroupsStats:
    """Counters since the start."""

    messages_sent: int = 0
    messages_refused: int = 0
    """Refused for want of room in the send queue."""
    messages_held: int = 0
    """Kept back until synchronization completed."""
    packets_sent: int = 0
    packets_refused: int = 0
    """Packets that the ring did not take although its queue has room: it has left, and sends nothing any more."""
    messages_delivered: int = 0
    packets_delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Packets and messages that were not valid, or for unknown groups, by reason."""


class Groups:
    """Implements `totem.api.Upper`; sits on a `RingPort` and serves a `GroupsUpper`.

    Begins in the transitional phase, as the ring does. Its user calls `synchronization_completed` when the last
    barrier of the current regular configuration is delivered.
    """

    def __init__(
        self,
        ring: RingPort,
        upper: GroupsUpper,
        payload_size: int,
        *,
        groups: tuple[bytes, ...] = (SERVICE_GROUP, SYNC_GROUP),
    ) -> None:
        """`payload_size`: bytes of an mcast's payload at most; `groups`: messages for others are not delivered."""
        self.stats = GroupsStats()
        self.reassembly = Reassembly()
        self._ring = ring
        self._upper = upper
        self._groups = frozenset(groups)
        self._packer = Packer(payload_size)
        self._per_packet = payload_size - _FLOW_CONTROL_OVERHEAD
        self._queue_size = SEND_QUEUE_BYTES // payload_size
        self._serves = SERVICE_GROUP in groups
        self._service_header = group_header(SERVICE_GROUP)
        self._synchronized = False
        self._held: deque[tuple[bytes, bool]] = deque()
        self._held_bytes = 0
        self._level = QueueLevel.LOW
        self._level_free = -1
        """The room in the queue when the level was last looked at: it depends on nothing else."""
        self._left: tuple[NodeId, ...] = ()

    # What the layer above calls

    def multicast(self, group: bytes, body: bytes, *, safe: bool = False, after_sync: bool = False) -> bool:
        """Send `body` to `group` on every member, this one too; False: there is no room for all of it now.

        With `after_sync` a message waits for the end of synchronization if that is going on. All else would overtake
        what waits in the regular queue, so it is for the messages of synchronization itself.
        ValueError if the body is longer than MESSAGE_SIZE_MAX.
        """
        if len(body) > MESSAGE_SIZE_MAX:
            raise ValueError(f"a message of {len(body)} bytes, more than {MESSAGE_SIZE_MAX}")
        header = group_header(group)
        size = len(header) + len(body)
        if after_sync and not self._synchronized:
            accepted = self._held_bytes + size <= HELD_BYTES_MAX
            if accepted:
                self._hold(header + body, safe)
        else:
            accepted = self._has_turn() and self._has_room(size)
            if accepted:
                self._pack(header, body, safe)
        if not accepted:
            self.stats.messages_refused += 1
        return accepted

    def multicast_all(self, heads: Sequence[bytes], data: Sequence[Buffer], *, fill: bool) -> int:
        """Send messages, each a head and data, to SERVICE_GROUP on every member, in agreed order, as `multicast` does
        it; gives how many. It stops before the first that finds no room (or, if it shall not `fill` the queue, finds it
        CRITICAL), or synchronization going on, and leaves it to `multicast` to say what becomes of that. None may be
        longer than MESSAGE_SIZE_MAX."""
        if not self._synchronized or (self._held and not self._has_turn()):
            return 0
        ring, packer, per_packet = self._ring, self._packer, self._per_packet
        free = ring.send_queue_free
        if not fill and self._level_at(free) is QueueLevel.CRITICAL:
            return 0
        available = free - _SPARE_PACKETS
        count = 0
        last_head, head = b"", self._service_header
        for given, piece in zip(heads, data, strict=True):
            if given is not last_head:
                last_head, head = given, self._service_header + given
            if available < (len(head) + len(piece)) // per_packet + 1:
                break
            count += 1
            payloads = packer.add(head, piece, False)
            if payloads:
                for payload in payloads:
                    self._submit(payload)
                free = ring.send_queue_free
                if not fill and self._level_at(free) is QueueLevel.CRITICAL:
                    break
                available = free - _SPARE_PACKETS
        if count:
            self.stats.messages_sent += count
            ring.request_token()
        return count

    def synchronization_completed(self) -> None:
        """The last barrier is delivered: back to the regular send queue and set.

        What the packer holds is whole, so it need not stay in the transitional queue, where it would be stuck.
        """
        self._ring.synchronized()
        self.reassembly.switch(transitional=False)
        self._synchronized = True
        self._release()

    @property
    def queue_level(self) -> QueueLevel:
        """How full the send queue in use is: 40, 60 and 75 % raise the level; below 30, to 50 and to 70 % lower it."""
        return self._level_at(self._ring.send_queue_free)

    def _level_at(self, free: int) -> QueueLevel:
        if free == self._level_free:
            return self._level
        self._level_free = free
        available = max(0, free - _SPARE_PACKETS - 1)
        used_percent = 100 - min(available, self._queue_size) * 100 // self._queue_size
        at_least = (used_percent >= 40) + (used_percent >= 60) + (used_percent >= 75)
        at_most = (used_percent >= 30) + (used_percent > 50) + (used_percent > 70)
        self._level = QueueLevel(min(max(self._level, at_least), at_most))
        return self._level

    def statistics(self) -> dict[str, int]:
        """All counters by name, those of dropped things as "dropped.<reason>"."""
        stats, parts = self.stats, self.reassembly.stats
        return {
            "messages_sent": stats.messages_sent,
            "messages_refused": stats.messages_refused,
            "messages_held": stats.messages_held,
            "packets_sent": stats.packets_sent,
            "packets_refused": stats.packets_refused,
            "messages_delivered": stats.messages_delivered,
            "packets_delivered": stats.packets_delivered,
            "unfinished_bytes": self.reassembly.unfinished_bytes,
            "dropped.unknown tail": parts.unknown_tails,
            "dropped.unfinished message": parts.unfinished,
            "dropped.message too long": parts.too_long,
            "dropped.too many senders": parts.too_many_senders,
            **{f"dropped.{reason}": count for reason, count in sorted(stats.dropped.items())},
        }

    # What the ring calls

    def packet_delivered(self, sender: NodeId, payload: bytes) -> None:
        self.stats.packets_delivered += 1
        reassembly = self.reassembly
        if sender in reassembly.current:
            if reassembly.take_middle(sender, payload):
                return
        elif self._serves:
            bodies = whole_bodies(payload, self._service_header)
            if bodies is not None and self._upper.messages_delivered(sender, bodies):
                self.stats.messages_delivered += len(bodies)
                return
        try:
            messages = reassembly.receive(sender, payload)
        except BadPacket as error:
            self.stats.dropped[error.reason] += 1
            return
        for message in messages:
            try:
                self._deliver(sender, message)
            except BadPacket as error:
                self.stats.dropped[error.reason] += 1

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        if change.kind is ConfigurationKind.TRANSITIONAL:
            self._synchronized = False
            # The old ring's last packets follow, of those who left as well: they may end what is unfinished.
            self._left = change.left
        self._upper.configuration_changed(change)
        if change.kind is ConfigurationKind.TRANSITIONAL:
            # The last chance to join what waits in the old queue; now it would still be sent in order.
            self._flush()
            self._ring.restart_unfinished(_RESTART)

    def token_received(self) -> None:
        if self._held:
            self._release()
        self._flush()

    def token_sent(self) -> None:
        self._upper.token_sent()

    def waits_for_token(self) -> bool:
        return bool(self._held) or not self._packer.empty or self._upper.waits_for_token()

    def switch_reassembly(self) -> None:
        self.reassembly.forget(self._left)
        self.reassembly.switch(transitional=True)

    # Sending

    def _has_room(self, size: int) -> bool:
        """The flow control rule. It never counts fewer packets than the packer makes, the open one included."""
        available = self._ring.send_queue_free - _SPARE_PACKETS
        return available >= size // self._per_packet + 1

    def _has_turn(self) -> bool:
        """Outside of synchronization, messages that were held go first."""
        if self._held and self._synchronized:
            self._release()
        return not (self._held and self._synchronized)

    def _hold(self, message: bytes, safe: bool) -> None:
        self.stats.messages_held += 1
        self._held.append((message, safe))
        self._held_bytes += len(message)

    def _release(self) -> None:
        while self._held and self._synchronized and self._has_room(len(self._held[0][0])):
            message, safe = self._held.popleft()
            self._held_bytes -= len(message)
            self._pack(b"", message, safe)

    def _pack(self, head: bytes, body: bytes, safe: bool) -> None:
        self.stats.messages_sent += 1
        for payload in self._packer.add(head, body, safe):
            self._submit(payload)
        self._ring.request_token()

    def _flush(self) -> None:
        """Queue what is being packed. A full queue (the ring has just changed it) leaves it where it is, whole."""
        if not self._packer.empty and self._ring.send_queue_free:
            payload = self._packer.flush()
            if payload is not None:
                self._submit(payload)

    def _submit(self, payload: Payload) -> None:
        if self._ring.submit(payload.data, payload.safe, payload.goes_on):
            self.stats.packets_sent += 1
        else:
            self.stats.packets_refused += 1

    # Receiving

    def _deliver(self, sender: NodeId, message: bytes) -> None:
        if self._serves and message.startswith(self._service_header):
            body = message[len(self._service_header) :]
            self.stats.messages_delivered += 1
            if not self._upper.messages_delivered(sender, [body]):
                self._upper.message_delivered(SERVICE_GROUP, sender, body)
            return
        names, body = decode_group_message(message)
        for name in names if len(names) == 1 else dict.fromkeys(names):
            if name in self._groups:
                self.stats.messages_delivered += 1
                self._upper.message_delivered(name, sender, body)
            else:
                self.stats.dropped["unknown group"] += 1
