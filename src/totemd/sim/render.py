"""Packets, states and effects as short lines for people: one form for traces and for scenario transcripts.

Nothing here depends on hashing or on addresses, so the same run gives the same lines in every process.
"""

from collections.abc import Iterable
from math import inf

from totemd.errors import BadPacket
from totemd.ids import NodeId, RingId
from totemd.node.effects import (
    CheckConfiguration,
    ConfigureLogs,
    Exit,
    NodeEffect,
    PersistFile,
    ReadConfiguration,
    ReopenLogs,
    SendNow,
    StoreChange,
    WriteConfiguration,
)
from totemd.totem.api import ConfigurationChanged
from totemd.totem.core import Core
from totemd.totem.effects import Broadcast, Log, PersistRingSeq, Unicast
from totemd.wire.packets import (
    ENCAPSULATED,
    GUARANTEE_SAFE,
    CommitEntry,
    CommitToken,
    Join,
    Mcast,
    MergeDetect,
    OrfToken,
    Packet,
    TokenAsk,
    TokenLoan,
    TokenTaken,
    decode_packet,
)

_UNSET = 0xFFFFFFFF


def ring_text(ring: RingId) -> str:
    """Representative and number, both decimal as in the specification's examples: "1/8"."""
    return f"{ring.rep}/{ring.seq}"


def nodes_text(nodes: Iterable[NodeId]) -> str:
    """Node ids in the given order; "-" for none."""
    return ",".join(map(str, nodes)) or "-"


def packet_line(packet: Packet) -> str:
    """One packet: its kind, its ring and what is needed to follow the protocol by eye."""
    if isinstance(packet, OrfToken):
        return _token_line(packet)
    if isinstance(packet, Mcast):
        return _mcast_line(packet)
    if isinstance(packet, Join):
        kind = "leave" if packet.is_leave else "join"
        sets = f"proc={nodes_text(packet.proc_list)} failed={nodes_text(packet.failed_list)}"
        return f"{kind} from={packet.system_from} {sets} seq={packet.ring_seq}"
    if isinstance(packet, CommitToken):
        entries = " ".join(_entry_text(entry) for entry in packet.entries)
        place = f"{packet.memb_index}/{len(packet.members)}"
        return f"commit ring={ring_text(packet.ring)} members={nodes_text(packet.members)} at={place} [{entries}]"
    if isinstance(packet, TokenAsk):
        return f"ask ring={ring_text(packet.ring)} asker={packet.asker} visit={packet.token_seq} hops={packet.hops}"
    if isinstance(packet, TokenLoan):
        numbers = f"visit={packet.token_seq} seq={packet.seq} base={packet.base} age={packet.age_us}us"
        return f"loan ring={ring_text(packet.ring)} {numbers} lap={packet.lap.name.lower()}"
    if isinstance(packet, TokenTaken):
        return f"taken ring={ring_text(packet.ring)} visit={packet.token_seq}"
    kind = "merge" if isinstance(packet, MergeDetect) else "cancel"
    return f"{kind} from={packet.sender} ring={ring_text(packet.ring)}"


def datagram_line(data: bytes) -> str:
    """The packet that `data` is, or why it is none."""
    try:
        return packet_line(decode_packet(data))
    except BadPacket as error:
        return f"no packet ({error.reason}), {len(data)} bytes"


def effect_line(effect: NodeEffect) -> str:
    """What a node wants done."""
    if isinstance(effect, Broadcast):
        return f"to all: {datagram_line(effect.data)}"
    if isinstance(effect, Unicast):
        return f"to {effect.nodeid}: {datagram_line(effect.data)}"
    if isinstance(effect, SendNow):
        return f"now to {effect.address or 'all'}: {len(effect.data)} bytes of the seal"
    if isinstance(effect, PersistRingSeq):
        return f"persist ring number {effect.seq}"
    if isinstance(effect, Log):
        return f"log {effect.level} {effect.subsystem}: {effect.text}"
    if isinstance(effect, PersistFile):
        return f"persist file {effect.name}, {len(effect.data)} bytes"
    if isinstance(effect, ReadConfiguration):
        return "read the configuration"
    if isinstance(effect, ReopenLogs):
        return "reopen the logs"
    if isinstance(effect, ConfigureLogs):
        return "configure the logs"
    if isinstance(effect, CheckConfiguration):
        return f"check a configuration, {len(effect.text)} characters"
    if isinstance(effect, StoreChange):
        return f"store {effect.name}, {len(effect.data)} bytes"
    if isinstance(effect, WriteConfiguration):
        return f"write the configuration, {len(effect.text)} characters"
    assert isinstance(effect, Exit)
    return f"exit {effect.status}: {effect.reason}"


def configuration_line(change: ConfigurationChanged) -> str:
    """A configuration, without its reason."""
    parts = [f"{change.kind.value} {ring_text(change.ring)} members={nodes_text(change.members)}"]
    if change.joined:
        parts.append(f"joined={nodes_text(change.joined)}")
    if change.left:
        parts.append(f"left={nodes_text(change.left)}")
    return " ".join(parts)


def state_line(core: Core) -> str:
    """The ring's state: what is agreed on or installed, and how far the order has come."""
    parts = [f"{core.state.value} ring={ring_text(core.ring)} memb={nodes_text(core.memb)}"]
    if tuple(sorted(core.proc)) != core.memb or core.failed:
        parts.append(f"proc={nodes_text(sorted(core.proc))} failed={nodes_text(sorted(core.failed))}")
    parts.append(f"aru={core.aru} high={core.high} delivered={core.high_delivered}")
    if core.direct.holding:
        parts.append("has the token")
    if core.saved:
        parts.append(f"old={ring_text(core.old_ring)}:{core.old_aru}/{core.old_high}")
    return " ".join(parts)


def timers_line(core: Core) -> str:
    """The timers that run, and in how many milliseconds they are due."""
    timers = {
        "token": core.token_deadline,
        "retransmit": core.retransmit_deadline,
        "hold": core.hold_deadline,
        "merge": core.merge_deadline,
        "join": core.join_deadline,
        "consensus": core.consensus_deadline,
        "heartbeat": core.heartbeat_deadline,
        "ask": core.direct.ask_deadline,
    }
    parts = [f"{name}={(deadline - core.now) * 1000:.0f}ms" for name, deadline in timers.items() if deadline != inf]
    return " ".join(parts) or "-"


def _token_line(token: OrfToken) -> str:
    aru = "-" if token.aru == _UNSET else f"{token.aru}"
    parts = [f"token ring={ring_text(token.ring)} visit={token.token_seq} seq={token.seq} aru={aru}"]
    if token.aru_addr:
        parts.append(f"by={token.aru_addr}")
    if token.rtr_list:
        parts.append(f"rtr={','.join(str(seq) for _, seq in token.rtr_list)}")
    if token.retrans_flg:
        parts.append("retrans")
    return " ".join(parts)


def _mcast_line(message: Mcast) -> str:
    parts = [f"mcast ring={ring_text(message.ring)} seq={message.seq} from={message.system_from}"]
    if message.sender != message.system_from:
        parts.append(f"resent by={message.sender}")
    if message.encapsulated == ENCAPSULATED:
        parts.append(f"holds [{_old_message_text(message.payload)}]")
    else:
        parts.append("safe" if message.guarantee == GUARANTEE_SAFE else "agreed")
        parts.append(f"{len(message.payload)} bytes")
    return " ".join(parts)


def _old_message_text(payload: bytes) -> str:
    """The message in a recovery message; only one level deep, whatever a peer has wrapped."""
    try:
        inner = decode_packet(payload)
    except BadPacket as error:
        return f"no packet ({error.reason})"
    if not isinstance(inner, Mcast):
        return "no message"
    return f"ring={ring_text(inner.ring)} seq={inner.seq} from={inner.system_from}"


def _entry_text(entry: CommitEntry) -> str:
    flag = "" if entry.received_flg else "!"
    return f"{ring_text(entry.ring)}:{entry.aru}{flag}" if entry.ring.seq else "-"
