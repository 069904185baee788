"""Where fuzzing starts: the golden vectors, the captures of real nodes, and one good example of what has neither.

They are made anew from their sources; tests/fuzz/corpus holds only what fuzzing itself has found.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgpack

from catchup_targets import catching_up_seeds, parcel_seeds
from chunking import chunk
from fuzz_targets import NEXT, RAW, RECORDED, WAIT
from join_targets import joining_seeds, probe_seeds, ticket_seeds
from library_seeds import library_handshakes, library_requests, library_rings
from live_node import NODES, meeting, node_in_phase
from packet_forgery import Forger
from seal_targets import key_file_seeds, seal_seeds
from small_configuration import small_text
from totemd.cli.doctor_exchange import Exchange
from totemd.cli.pcap import parse_datagrams
from totemd.cluster.change import Change, entry_of
from totemd.ids import NodeId
from totemd.ipc.frames import encode_frame
from totemd.ipc.requests import REQUESTS
from totemd.services.changes.ledger import Accepted, History, Ledger, encode_entries, encode_record
from totemd.wire.packets import PacketType

ROOT: Final = Path(__file__).resolve().parents[2]
CORPUS: Final = Path(__file__).resolve().parent / "corpus"

SEEDS_PER_CAPTURE = 40


def corpus_of(target: str) -> dict[str, bytes]:
    """What is kept for a target, by file name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).glob("*")) if path.is_file()}


def seeds_of(target: str) -> dict[str, bytes]:
    """Where a target starts, by name."""
    if target == "ring_packet":
        return _vectors("orf_token", "mcast", "merge_detect", "join", "commit_token", "hold_cancel") | _captured()
    if target == "group_packets":
        packets = _vectors("packed", "group_message") | _payloads()
        return {name: chunk(1, data[:4000]) for name, data in packets.items()} | {"many": _several(packets)}
    if target == "synchronization":
        return _vectors("service_build", "barrier")
    if target in ("cpg_messages", "cfg_messages", "cmap_messages", "votequorum_messages", "changes_messages"):
        return _vectors(prefix=target.partition("_")[0] + "_")
    if target == "change_records":
        return _changes()
    if target == "sealed_datagrams":
        return seal_seeds(_vectors(prefix="seal_"))
    if target == "key_file":
        return key_file_seeds()
    if target == "catching_up":
        return catching_up_seeds()
    if target == "handed_parcel":
        return parcel_seeds()
    if target == "joining":
        return joining_seeds()
    if target == "tickets_and_identities":
        return ticket_seeds()
    if target == "join_probes":
        return probe_seeds()
    if target in ("node_member", "node_representative"):
        return dict(_node_inputs(2 if target == "node_member" else 1))
    if target == "frames":
        return _vectors("native_frame") | {"two": b"\x05" + encode_frame({"id": 1, "do": "ping"}) * 2}
    if target == "session":
        return dict(_requests())
    if target.startswith("library_"):
        libraries = {
            "library_handshake": library_handshakes,
            "library_ring": library_rings,
            "library_requests": library_requests,
        }
        return dict(libraries[target]())
    if target == "client_protocol":
        return dict(_answers())
    if target == "config":
        return dict(_configurations())
    if target == "doctor_probes":
        return _probes()
    assert target == "capture", target
    return {path.stem: gzip.decompress(path.read_bytes())[:2000] for path in _captures()}


def _probes() -> dict[str, bytes]:
    """A first probe, and one that tells of what was heard."""
    one, two = Exchange(1, {2: "192.0.2.2"}, 1455), Exchange(2, {1: "192.0.2.1"}, 1455)
    first = two.probe(999.9, to_all=True, full=True)
    two.receive(one.probe(999.8, to_all=False, full=False), "192.0.2.1", 999.9)
    return {"first": first, "telling": two.probe(999.95, to_all=False, full=False)}


def _changes() -> dict[str, bytes]:
    """A change, an entry of the history, and what is stored and handed over."""
    first = Change(bytes(16), "create", 1, 1, "totem {\n}\n", "root", 1)
    second = Change(bytes(range(16)), "remove", 1, 2, "totem {\n}\n", boxes={1: b"box", 3: b"another"}, proposer=1)
    book = Ledger(second, first, False, False, 3, Accepted(9, 2, (1, 3), True, second))
    entries = [entry_of(first, "committed"), entry_of(second, "rejected", {3: "no"})]
    return {
        "change": second.encode(),
        "entry": entries[1].encode(),
        "ledger": book.encode(),
        "entries": encode_entries(entries),
        "record": encode_record(book, History(entries)),
    }


def _captures() -> list[Path]:
    return sorted((ROOT / "tests" / "captures").glob("*.pcap.gz"))


def _vectors(*kinds: str, prefix: str = "-") -> dict[str, bytes]:
    found = {}
    for path in sorted((ROOT / "protocol" / "vectors").glob("*.json")):
        if path.stem in kinds or path.stem.startswith(prefix):
            for vector in json.loads(path.read_text())["vectors"]:
                found[f"{path.stem} {vector['name']}"] = bytes.fromhex(vector["hex"])
    return found


@lru_cache(maxsize=1)
def _captured() -> dict[str, bytes]:
    """Packets of real nodes, no two of a capture with the same type and length."""
    found = {}
    for path in _captures():
        known: set[tuple[bytes, int]] = set()
        for datagram in parse_datagrams(gzip.decompress(path.read_bytes())):
            kind = (datagram.payload[3:4], len(datagram.payload))
            if kind not in known and len(known) < SEEDS_PER_CAPTURE:
                known.add(kind)
                found[f"{path.stem} {datagram.frame}"] = datagram.payload
    return found


def _payloads() -> dict[str, bytes]:
    mcast = {name: data for name, data in _captured().items() if data[3] == PacketType.MCAST and data[4] != 1}
    return {name: data[45:] for name, data in mcast.items()}


def _several(packets: dict[str, bytes]) -> bytes:
    return b"".join(chunk(index & 3, data[:600]) for index, data in enumerate(list(packets.values())[:8]))


def _node_inputs(nodeid: NodeId) -> Iterator[tuple[str, bytes]]:
    """Each kind of packet in several phases, as it was received and slightly changed; the record going on from any
    phase, with something forged in it; and silence."""
    datagrams = meeting().datagrams[nodeid]
    seen: set[tuple[int, int]] = set()
    for number, (data, source) in enumerate(datagrams):
        if (data[3], len(data)) in seen:
            continue
        seen.add((data[3], len(data)))
        again = chunk(RECORDED, struct.pack("<H", number))
        changed = chunk(RECORDED, struct.pack("<HHB", number, 17, 255))
        for phase in (0, 60, 130, 255):
            body = chunk(RAW + 4 * (_sender(source) - 1), data) + again + changed + chunk(WAIT, b"\x2c\x01")
            yield f"packet {number} in {phase}", bytes([phase]) + body
    for phase in range(0, 256, 8):
        _, _, cursor = node_in_phase(nodeid, phase / 255)
        data, source = datagrams[cursor % len(datagrams)]
        forged = Forger(phase, NODES).forge(data)[:1200]
        going_on = chunk(NEXT, b"\0") * 3
        body = going_on + chunk(RAW + 4 * (_sender(source) - 1), forged) + going_on + chunk(WAIT, b"\xff\x01")
        yield f"forged in {phase}", bytes([phase]) + body
    for phase in (20, 40, 90, 255):
        yield f"alone in {phase}", bytes([phase]) + chunk(WAIT, struct.pack("<H", 400)) * 4


def _sender(source: str) -> NodeId:
    return int(source.rpartition(".")[2])


_EXAMPLES: Final[dict[str, object]] = {
    "group": b"g", "pid": 7, "data": b"hello", "guarantee": "safe", "key": "totem.token", "value": 3000, "type": "u32",
    "step": 1, "prefix": "totem.", "exact": False, "nodeid": 1, "votes": 1, "reason": "why", "id": 5, "current": True,
    "kind": "request",
}  # fmt: skip


def _requests() -> Iterator[tuple[str, bytes]]:
    everything = b""
    for number, request in enumerate(REQUESTS.values(), 10):
        given = {argument.name: _EXAMPLES.get(argument.name, 1) for argument in request.arguments}
        body: bytes = msgpack.packb({"id": number, "do": request.name, "with": given})
        one = chunk(5, body)
        if request.name not in ("shutdown", "kill"):
            everything += one
        join = chunk(5, msgpack.packb({"id": 5, "do": "cpg_join", "with": {"group": b"g"}}))
        yield request.name, join + one + chunk(7, body)
    yield "everything", everything
    yield "raw", chunk(0, encode_frame({"id": 1, "do": "ping"}) + encode_frame({"id": 2, "do": "status"}))


def _answers() -> Iterator[tuple[str, bytes]]:
    member = {"nodeid": 1, "pid": 2, "reason": "join"}
    ring: dict[str, Any] = {"rep": 1, "seq": 8}
    frames: dict[str, dict[str, Any]] = {
        "reply": {"id": 1, "ok": {"members": [member], "groups": [], "value": 3, "type": "u32", "key": "a.b"}},
        "error": {"id": 1, "error": {"code": "try_again", "message": "later"}},
        "message": {"event": "message", "of": 1, "data": {"group": b"g", "nodeid": 1, "pid": 2, "data": b"x"}},
        "members": {"event": "members", "of": 1, "data": {"members": [member], "joined": [member], "left": []}},
        "membership": {"event": "membership", "of": 1, "data": {"ring": ring, "members": [1], "kind": "regular"}},
        "quorum": {"event": "quorum", "of": 1, "data": {"quorate": True, "ring": ring, "members": [1]}},
        "changed": {"event": "changed", "of": 1, "data": {"key": "a.b", "old": None, "new": 1}},
        "ready": {"event": "ready", "of": 0, "data": {}},
        "closing": {"event": "closing", "of": 0, "data": {"reason": "stop"}},
    }
    for name, frame in frames.items():
        yield name, b"\x01" + encode_frame(frame)
    yield "all", b"\x01" + b"".join(map(encode_frame, frames.values()))
    for name, data in _vectors("native_frame").items():
        yield name, b"\x01" + data
        yield f"{name} first", b"\x00" + data


def _configurations() -> Iterator[tuple[str, bytes]]:
    yield "small", small_text("10.0.0.1", "10.0.0.2").encode()
    yield "named", small_text("alpha", "beta", totem="token: 5000\nip_version: ipv4", transport="udp").encode()
    options = "two_node: 1\nwait_for_all: 1\nlast_man_standing: 1\nauto_tie_breaker: 1\nexpected_votes: 2"
    logging = "debug: on\nlogfile: /tmp/x\nto_logfile: yes\nlogger_subsys {\nsubsys: QUORUM\ndebug: on\n}"
    yield "options", small_text("10.0.0.1", "10.0.0.2", quorum=options, logging=logging).encode()
    device = "device {\nmodel: net\nvotes: 1\nnet {\nhost: beta\n}\n}"
    totem = "secauth: off\nnetmtu: 1400\nwindow_size: 50\nsend_join: 10\nconsensus: 4000\nrrp_mode: none"
    yield "device", small_text("10.0.0.1", "10.0.0.2", totem=totem, quorum=device, transport="udp").encode()
    ports = "mcastport: 5405\nmcastaddr: 239.1.2.3\nttl: 1\nbindnetaddr: 10.0.0.0"
    yield "udp", small_text("10.0.0.1", "10.0.0.2", interface=ports, transport="udp").encode()
    access = "uidgid {\nuid: root\ngid: 5\n}\n\n\n\fuidgid {\nuid: hacluster\n}\n"
    yield "access", (small_text("fd00::1", "10.0.0.2") + access).encode()
