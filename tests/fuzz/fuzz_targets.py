"""What is fuzzed: everything that takes bytes from outside, one function each.

A target returns whatever the bytes are; that a documented exception (BadPacket, ConfigError, BadFrame, BadRing,
OperatorError, TotemdClientError) was raised inside is as good as none. Any other exception is a finding, and so is a
broken promise that a target asserts.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from catchup_targets import catching_up, handed_parcel
from chunking import chunks
from join_targets import join_probes, joining, tickets_and_identities
from library_targets import library_handshake, library_requests, library_ring
from live_node import Host, address, check_bounds, configuration, lone_node, meeting, node_in_phase, settle
from seal_targets import key_file, sealed_datagrams
from totemd.cli import cluster_doctor
from totemd.cli.doctor_exchange import SMALL_BYTES, Exchange
from totemd.cli.pcap import parse_datagrams
from totemd.client import records, requests
from totemd.client.errors import TotemdClientError
from totemd.client.protocol import ClientProtocol, Pushed, Reply
from totemd.client.records import Welcome
from totemd.cluster.change import Change, HistoryEntry
from totemd.config import load
from totemd.config.reload import compare
from totemd.errors import BadFrame, BadPacket, ConfigError, OperatorError
from totemd.groups.reassembly import Reassembly
from totemd.ipc.frames import REPLY_BOUNDS, FrameDecoder, encode_frame
from totemd.ipc.ports import Credentials
from totemd.ipc.session import Session
from totemd.limits import CLIENT_BACKLOG_BYTES_MAX, FRAME_SIZE_MAX, PROCESSOR_COUNT_MAX, REASSEMBLY_SIZE_MAX
from totemd.services.changes import ledger
from totemd.wire import cfg, changes, cmap, cpg, groups, packets, service, sync, votequorum
from totemd_protocol.describe import describe, jsonable

Target: TypeAlias = Callable[[bytes], None]
T = TypeVar("T")


# Decoders: what they accept, the encoder must give again, and that must mean the same.


def ring_packet(data: bytes) -> None:
    """Ring packets, and `totemctl decode`'s second reader of them, which never raises."""
    try:
        packet = packets.decode_packet(data)
    except BadPacket:
        packet = None
    if packet is not None and not isinstance(packet, packets.Mcast):
        assert packets.decode_packet(_ENCODERS[type(packet)](packet)) == packet, packet
    jsonable(describe(data))


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    packets.OrfToken: packets.encode_orf_token,
    packets.Join: packets.encode_join,
    packets.CommitToken: packets.encode_commit_token,
    packets.MergeDetect: packets.encode_merge_detect,
    packets.HoldCancel: packets.encode_hold_cancel,
    packets.TokenAsk: packets.encode_token_ask,
    packets.TokenLoan: packets.encode_token_loan,
    packets.TokenTaken: packets.encode_token_taken,
}


def group_packets(data: bytes) -> None:
    """Packets of several senders put together, between changes of the set in use."""
    reassembly = Reassembly()
    for kind, payload in chunks(data):
        if kind & 0x80:
            reassembly.switch(transitional=bool(kind & 1))
        try:
            for message in reassembly.receive(kind & 7, payload):
                assert len(message) <= REASSEMBLY_SIZE_MAX
                groups.decode_group_message(message)
        except BadPacket:
            pass
        assert reassembly.unfinished_bytes <= 2 * 8 * REASSEMBLY_SIZE_MAX
        assert reassembly.unfinished_bytes <= len(data)


def synchronization(data: bytes) -> None:
    """Messages of synchronization."""
    try:
        message = sync.decode_sync(data)
    except BadPacket:
        return
    if isinstance(message, sync.Barrier):
        assert sync.decode_sync(sync.encode_barrier(message)) == message
    else:
        assert sync.decode_sync(sync.encode_service_build(message)) == message


def cpg_messages(data: bytes) -> None:
    """All messages of the process groups."""
    _same_again(data, cpg.decode_proc_join, cpg.encode_proc_join)
    _same_again(data, cpg.decode_proc_leave, cpg.encode_proc_leave)
    _same_again(data, cpg.decode_join_list, cpg.encode_join_list)
    _same_again(data, cpg.decode_down_list, cpg.encode_down_list)
    _same_again(data, cpg.decode_mcast, cpg.encode_mcast)
    _same_again(data, cpg.decode_partial_mcast, cpg.encode_partial_mcast)
    _accepts(data, cpg.decode_down_list_old)
    _accepts(data, service.decode_service_header)


def cfg_messages(data: bytes) -> None:
    """All messages of the cfg service."""
    _accepts(data, cfg.decode_kill_node)
    _accepts(data, cfg.decode_shutdown)
    _same_again(data, cfg.decode_reload_config, cfg.encode_reload_config)
    _same_again(data, cfg.decode_ring_reenable, cfg.encode_ring_reenable)
    _same_again(data, cfg.decode_crypto_reconfig, cfg.encode_crypto_reconfig)


def cmap_messages(data: bytes) -> None:
    """The message of the cmap service, and the version in it."""
    values = _same_again(data, cmap.decode_cmap_values, cmap.encode_cmap_values)
    if values is not None:
        with contextlib.suppress(BadPacket):
            cmap.config_version_of(values)


def votequorum_messages(data: bytes) -> None:
    """All messages of votequorum."""
    _same_again(data, votequorum.decode_nodeinfo, votequorum.encode_nodeinfo)
    _same_again(data, votequorum.decode_reconfigure, votequorum.encode_reconfigure)
    _same_again(data, votequorum.decode_qdevice_reg, votequorum.encode_qdevice_reg)
    _same_again(data, votequorum.decode_qdevice_reconfigure, votequorum.encode_qdevice_reconfigure)


def changes_messages(data: bytes) -> None:
    """All messages of the replicated configuration, and the changes and records that they carry."""
    for function in changes.ChangesFunction:
        with contextlib.suppress(BadPacket):
            message = changes.decode_changes(function, data)
            if isinstance(message, changes.Propose | changes.Record):
                change_records(message.data)
            if isinstance(message, changes.Rejected | changes.Withdraw | changes.Checked):
                # What is not UTF-8 is shown with replacement characters, which may need more room than it had.
                assert len(message.reason) <= changes.REASON_MAX
            else:
                assert changes.decode_changes(function, changes.encode_changes(message)) == message, message


def change_records(data: bytes) -> None:
    """Changes, their history, and what is stored and handed over of both."""
    for decode, encode in (
        (Change.decode, Change.encode),
        (HistoryEntry.decode, HistoryEntry.encode),
        (ledger.Ledger.decode, ledger.Ledger.encode),
        (ledger.decode_entries, ledger.encode_entries),
        (ledger.decode_record, lambda record: ledger.encode_record(record[0], ledger.History(record[1]))),
    ):
        with contextlib.suppress(BadPacket):
            read: Any = decode(data)
            again = decode(encode(read))
            if decode is not ledger.decode_record:
                assert again == read, read


def _accepts(data: bytes, decode: Callable[[bytes], object]) -> None:
    with contextlib.suppress(BadPacket):
        decode(data)


def _same_again(data: bytes, decode: Callable[[bytes], T], encode: Callable[[T], bytes]) -> T | None:
    try:
        message = decode(data)
    except BadPacket:
        return None
    again = decode(encode(message))
    assert again == message, (message, again)
    return message


# A node


def node_member(data: bytes) -> None:
    """Node 2 of three in some phase; see `_node`."""
    _node(2, data)


def node_representative(data: bytes) -> None:
    """Node 1 of three in some phase; see `_node`."""
    _node(1, data)


RAW, RECORDED, WAIT, NEXT = 0, 1, 2, 3
"""Kinds of what happens to a node: a datagram as it stands; a recorded one, some bytes of it changed; time passes; one
of those that came next in the record, some bytes of it changed."""


def _node(nodeid: int, data: bytes) -> None:
    """The first byte is the phase, the rest chunks. A chunk of kind RAW + 4 * (sender - 1) is a datagram; of RECORDED,
    the number of a recorded datagram (two bytes) and changes to it (place, new value: two bytes and one); of WAIT, so
    many milliseconds; of NEXT, how many datagrams are left out (one byte), and changes. Whatever arrives, the node
    raises nothing and stays within its bounds."""
    if not data:
        return
    host, now, cursor = node_in_phase(nodeid, data[0] / 255)
    recorded = meeting().datagrams[nodeid]
    for kind, chunk in chunks(data[1:], 64):
        if kind & 3 == WAIT:
            now += min(int.from_bytes(chunk[:2], "little"), 2000) / 1000
        else:
            datagram = (chunk, address(1 + (kind >> 2) % 4))
            if kind & 3 == NEXT:
                cursor = (cursor + sum(chunk[:1])) % len(recorded)
                datagram = (_changed(recorded[cursor][0], chunk[1:]), recorded[cursor][1])
                cursor += 1
            elif kind & 3 == RECORDED:
                original, source = recorded[int.from_bytes(chunk[:2], "little") % len(recorded)]
                datagram = (_changed(original, chunk[2:]), source)
            now += 0.0003
            host.node.receive_datagrams([datagram], now)
        for _ in range(4):
            if host.node.next_deadline() > now:
                break
            host.node.handle_timer(now)
        check_effects(host)
        if host.exited:
            return
        check_bounds(host.node)


def check_effects(host: Host) -> None:
    """What a node sends, its peers must be able to read."""
    for effect in host.take():
        sent = getattr(effect, "data", None)
        if isinstance(sent, bytes) and not hasattr(effect, "name"):
            packets.decode_packet(sent)


def _changed(data: bytes, changes: bytes) -> bytes:
    result = bytearray(data)
    for place, value in struct.iter_unpack("<HB", changes[: len(changes) // 3 * 3]):
        result[place % len(result)] = value
    return bytes(result)


# A local client


def frames(data: bytes) -> None:
    """The frames of a stream do not depend on the pieces in which it comes, and nothing is kept but the last piece."""
    cut = data[0] if data else 0
    whole, pieces = FrameDecoder(), FrameDecoder()
    try:
        expected = whole.feed(data)
    except BadFrame:
        expected = None
    got = []
    try:
        got += pieces.feed(data[:cut])
        got += pieces.feed(data[cut:])
    except BadFrame:
        assert expected is None
    else:
        assert repr(expected) == repr(got)
    assert pieces.buffered_bytes <= len(data)


def session(data: bytes) -> None:
    """Clients of a live node of one: chunks of kind 0 are raw bytes, of kind 1 the body of a frame; + 2: another client
    sends it; + 4: then the token goes round. What they are told back must be readable."""
    host, now = lone_node()
    node = host.node
    clients = [_open(host, now, uid) for uid in (0, 0)]
    decoders = [FrameDecoder(REPLY_BOUNDS) for _ in clients]
    for kind, chunk in chunks(data, 64):
        which = kind >> 1 & 1
        client = clients[which]
        if client.closing is None:
            sent = struct.pack(">I", len(chunk)) + chunk if kind & 1 else chunk
            node.session_receive(client, sent, now)
            while client.has_pending_input:
                node.session_receive(client, b"", now)
        if kind & 4:
            now = settle(host, now)
            while node.front.resumable:
                node.session_receive(node.front.resumable.popitem()[0], b"", now)
        for other, decoder in zip(clients, decoders, strict=True):
            assert other.backlog_bytes <= CLIENT_BACKLOG_BYTES_MAX + FRAME_SIZE_MAX
            chunks_out = other.take_output()
            other.written(sum(map(len, chunks_out)))
            for frame in decoder.feed(b"".join(chunks_out)):
                assert encode_frame(frame)
        check_effects(host)
    for client in clients:
        node.session_closed(client, now)
    settle(host, now)
    assert node.client_count == 0


def _open(host: Host, now: float, uid: int) -> Session:
    client = host.node.open_session(Credentials(4711, uid, 0), now)
    host.node.session_receive(client, encode_frame({"hello": {"protocol": 1, "client": "fuzz"}}), now)
    return client


def client_protocol(data: bytes) -> None:
    """A client of a daemon that says anything; odd: it has been welcomed before."""
    protocol = ClientProtocol("fuzz")
    if data[:1] and data[0] & 1:
        protocol.append(encode_frame({"hello": _WELCOME}))
        assert isinstance(protocol.take(), Welcome)
    protocol.append(data[1:])
    try:
        while (incoming := protocol.take()) is not None:
            if isinstance(incoming, Reply):
                _read_as_every_reply(incoming.value)
            elif isinstance(incoming, Pushed):
                assert incoming.cost_bytes > 0
    except TotemdClientError:
        pass
    protocol.ended("fuzz")


_WELCOME: Final = {
    "protocol": 1,
    "server": "totemd",
    "version": "0",
    "nodeid": 1,
    "cluster_name": "c",
    "incarnation": "f",
}

_REPLIES: Final = (
    requests.ping().decode,
    requests.cpg_members("g").decode,
    requests.cmap_get("a.b").decode,
    records.decode_status,
    records.decode_nodes,
    records.decode_current,
    records.decode_groups,
    records.decode_cmap_list,
    records.nothing,
)


def _read_as_every_reply(value: object) -> None:
    for decode in _REPLIES:
        with contextlib.suppress(TotemdClientError):
            decode(value)


# Files


def config(data: bytes) -> None:
    """corosync.conf, and a file of uidgid.d after two newlines and a form feed; then as a reload of another one."""
    text, _, uidgid = data.decode("utf-8", "replace").partition("\n\n\f")
    try:
        result = load(
            text,
            file="corosync.conf",
            resolve=_resolve,
            local_addresses=["10.0.0.1", "fd00::1"],
            hostname="alpha",
            uidgid_files={"extra": uidgid} if uidgid else {},
            resolve_user=_number_of,
            resolve_group=_number_of,
        )
    except ConfigError:
        return
    assert 1 <= len(result.nodes) <= PROCESSOR_COUNT_MAX
    assert result.node(result.local.nodeid) == result.local
    compare(configuration(1, 3), result)
    compare(result, configuration(1, 3))
    assert not compare(result, result).effective


def _resolve(name: str, ip_version: str) -> list[str]:
    known = {"alpha": ["10.0.0.1"], "beta": ["10.0.0.2", "fd00::2"], "none": []}
    if name not in known:
        raise OSError("Name or service not known")
    return known[name]


def _number_of(name: str) -> int:
    return {"root": 0, "hacluster": 189}[name]


def capture(data: bytes) -> None:
    """A capture file."""
    size = 0
    try:
        for datagram in parse_datagrams(data):
            size += len(datagram.payload)
    except OperatorError:
        pass
    assert size <= len(data)


def doctor_probes(data: bytes) -> None:
    """What comes to the port of a doctor, from a listed node."""
    doctor = Exchange(1, {2: "192.0.2.2"}, 1455)
    doctor.receive(data, "192.0.2.2", 1000.0)
    (peer,) = doctor.peers.values()
    list(cluster_doctor._check_peer(peer, "two", multicast=True, port=5415))
    assert len(doctor.probe(1000.0, to_all=True, full=False)) == SMALL_BYTES


TARGETS: Final[dict[str, Target]] = {
    target.__name__: target
    for target in (
        ring_packet,
        group_packets,
        synchronization,
        cpg_messages,
        cfg_messages,
        cmap_messages,
        votequorum_messages,
        changes_messages,
        change_records,
        node_member,
        node_representative,
        frames,
        session,
        library_handshake,
        library_ring,
        library_requests,
        client_protocol,
        config,
        key_file,
        sealed_datagrams,
        catching_up,
        handed_parcel,
        joining,
        tickets_and_identities,
        join_probes,
        capture,
        doctor_probes,
    )
}
