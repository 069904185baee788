"""Write the golden vectors (protocol/vectors/*.json) from captures of real nodes.

    python protocol/extract_vectors.py --into protocol/vectors tests/captures/*.pcap.gz

For each kind of packet and message the rules below pick datagrams by what they show. What no capture holds is built by
the definitions and says so in its provenance. Look at the difference in git after a run: vectors are reviewed by hand.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from totemd.cli.pcap import read_datagrams
from totemd_protocol import groups, native, sealed, services, sync, totem
from totemd_protocol.catalogue import DEFINITIONS, to_json
from totemd_protocol.describe import describe, plain

PEER = "Debian corosync 3.1.7-1+deb12u2"
CONSTRUCTED = "constructed from the specification"
MESSAGES_PER_KIND = 4


@dataclass
class Specimen:
    """Bytes of one kind and where they were seen."""

    kind: str
    data: bytes
    capture: str
    frames: list[int]


@dataclass
class Vector:
    """A specimen chosen for the collection."""

    specimen: Specimen
    name: str
    what: str
    peer: str = PEER


def _pieces(packet: dict[str, Any]) -> list[dict[str, Any]]:
    pieces: list[dict[str, Any]] = packet.get("packed", {}).get("pieces", [])
    return pieces


def _has_part(packet: dict[str, Any], part: str) -> bool:
    return any(piece.get("part") == part for piece in _pieces(packet))


Rule = tuple[str, str, str, Callable[[dict[str, Any]], bool]]

PACKET_RULES: list[Rule] = [
    ("orf_token", "initial", "first token of a ring; its aru is the predecessor of 0",
     lambda p: p["token_seq"] == 0 and p["seq"] == 0 and p["retrans_flg"] == 0 and p["target_nodeid"] != 0),
    ("orf_token", "recovery rotation", "a hop before the ring is installed", lambda p: p["token_seq"] == 5),
    ("orf_token", "after sending", "the sender of this hop multicast at least one message and others wait",
     lambda p: p["fcc"] > 0 and p["backlog"] > 0 and p["aru_addr"] == 0),
    ("orf_token", "aru lowered", "a member that misses messages lowered aru and put its node id there",
     lambda p: p["aru_addr"] not in (0, p["nodeid"]) and p["aru"] < p["seq"] and p["token_seq"] > 20),
    ("orf_token", "one retransmit request", "one message is asked for", lambda p: len(p["rtr_list"]) == 1),
    ("orf_token", "16 retransmit requests", "recovery under loss",
     lambda p: len(p["rtr_list"]) == 16),
    ("orf_token", "30 retransmit requests", "the longest list that a token carries",
     lambda p: len(p["rtr_list"]) == 30),
    ("orf_token", "retransmission flag", "initial token of a recovery in which old messages must be sent again",
     lambda p: p["retrans_flg"] == 1),
    ("mcast", "service build", "one whole message of group sync",
     lambda p: not p["encapsulated"] and p["packed"]["msg_count"] == 1
     and _pieces(p)[0].get("message", {}).get("kind") == "service_build"),
    ("mcast", "three packed messages", "two votequorum messages and a barrier",
     lambda p: not p["encapsulated"] and p["packed"]["msg_count"] == 3 and p["packed"]["continuation"] == 0),
    ("mcast", "first fragment", "the beginning of a 100 KB message",
     lambda p: _has_part(p, "beginning") and p["packed"]["msg_count"] == 1 and p["seq"] > 26),
    ("mcast", "middle fragment", "neither the beginning nor the end of its message", lambda p: _has_part(p, "middle")),
    ("mcast", "last fragment", "the end of a 100 KB message: continuation 73",
     lambda p: not p["encapsulated"] and p["packed"]["continuation"] == 73),
    ("mcast", "fragment behind whole messages", "three whole messages and the beginning of a fourth",
     lambda p: not p["encapsulated"] and p["packed"]["msg_count"] == 4 and p["packed"]["continuation"] == 0
     and _has_part(p, "beginning")),
    ("mcast", "fragments at both ends", "the end of one message, whole ones, the beginning of another",
     lambda p: _has_part(p, "beginning") and _has_part(p, "end")),
    ("mcast", "recovery message", "an old ring's packet sent again on the new ring, 1500 bytes",
     lambda p: p["encapsulated"]),
    ("merge_detect", "idle ring", "sent by the representative of an idle ring; target_nodeid is stack garbage",
     lambda p: p["target_nodeid"] != 0),
    ("merge_detect", "udpu", "sent to every member of the nodelist", lambda p: True),
    ("join", "alone", "the first join of a node that knows only itself",
     lambda p: p["proc_list"] == [p["nodeid"]] and not p["failed_list"]),
    ("join", "three members", "order of insertion, target_nodeid is stack garbage",
     lambda p: len(p["proc_list"]) == 3 and p["target_nodeid"] != 0 and not p["failed_list"]),
    ("join", "with a failed node", "after a leave or an expired consensus timer", lambda p: len(p["failed_list"]) == 1),
    ("leave", "first", "clean shutdown: header node id 0, the leaver last in the failed list", lambda p: True),
    ("leave", "two failed", "the third of three nodes to leave", lambda p: len(p["failed_list"]) > 1),
    ("commit_token", "pass 1, one entry", "sent by the representative: its own entry is filled in",
     lambda p: p["addr_entries"] == 3 and p["memb_index"] == 1),
    ("commit_token", "pass 1, complete", "the last hop of the first pass",
     lambda p: p["addr_entries"] == 3 and p["memb_index"] == 3 and p["token_seq"] == 3),
    ("commit_token", "pass 2", "the complete token is passed around",
     lambda p: p["addr_entries"] == 3 and p["token_seq"] == 4),
    ("commit_token", "singleton", "a node alone sends itself the token",
     lambda p: p["addr_entries"] == 1),
    ("commit_token", "a member lacks messages", "one member's received_flg is 0: old messages will be sent again",
     lambda p: p["memb_index"] == p["addr_entries"] and any(not entry["received_flg"] for entry in p["memb_list"])),
    ("hold_cancel", "wake up", "a node that is not the representative wants to send", lambda p: True),
]  # fmt: skip

PACKED_NAMES = {"three packed messages", "first fragment", "last fragment", "fragments at both ends"}

MESSAGE_WHAT = {
    "barrier": "end of one service's synchronization at one member",
    "service_build": "start of synchronization",
    "cmap_mcast": "configuration version: during synchronization (reason 0) or because the key changed (reason 1)",
    "cfg_killnode": "corosync-cfgtool -k 2",
    "cfg_shutdown": "corosync-cfgtool -H",
    "cfg_reload_config": "corosync-cfgtool -R",
    "cpg_procjoin": "cpg_join",
    "cpg_procleave": "cpg_leave (reason 2) or the end of a client (reason 5)",
    "cpg_joinlist": "synchronization of a node with joined clients",
    "cpg_mcast": "cpg_mcast_joined",
    "cpg_downlist": "synchronization; put together from two packets",
    "cpg_partial_mcast": "the last part of a message of 1 048 000 bytes",
    "votequorum_nodeinfo": "start, synchronization, or a change of a node's votes or flags",
    "votequorum_reconfigure": "quorumtool -e or -v, or quorum.cancel_wait_for_all",
    "votequorum_qdevice_reg": "votequorum_qdevice_register or _unregister",
    "votequorum_qdevice_reconfigure": "votequorum_qdevice_update",
}


@dataclass
class Reader:
    """Walks captures; keeps each sender's unfinished message."""

    packets: list[tuple[dict[str, Any], Specimen]] = field(default_factory=list)
    messages: list[Specimen] = field(default_factory=list)
    _partial: dict[tuple[str, int], tuple[bytes, list[int]]] = field(default_factory=dict)

    def read(self, path: Path) -> None:
        name = path.name.removesuffix(".gz").removesuffix(".pcap")
        for datagram in read_datagrams(str(path)):
            packet = describe(datagram.payload)
            if "error" in packet:
                raise SystemExit(f"{path}: frame {datagram.frame}: {packet['error']['reason']}")
            kind = "join" if packet["kind"] == "leave" else packet["kind"]
            specimen = Specimen(kind, datagram.payload, name, [datagram.frame])
            self.packets.append((packet, specimen))
            if packet["kind"] == "mcast" and not packet["encapsulated"]:
                self._collect(packet, specimen)

    def _collect(self, packet: dict[str, Any], specimen: Specimen) -> None:
        fields = plain(groups.PACKED.parse(specimen.data[45:]))
        sender = (specimen.capture, packet["nodeid"])
        for index, piece in enumerate(fields["pieces"]):
            frames = specimen.frames
            if index == 0 and fields["continuation"]:
                if sender not in self._partial:
                    continue
                head, earlier = self._partial.pop(sender)
                piece, frames = head + piece, earlier + frames
            if index == len(fields["pieces"]) - 1 and fields["fragmented"]:
                self._partial[sender] = (piece, frames)
                continue
            self.messages.append(Specimen("group_message", piece, specimen.capture, frames))


def _choose_packets(reader: Reader) -> Iterator[Vector]:
    for kind, name, what, wanted in PACKET_RULES:
        matching = (
            s for p, s in reader.packets if p["kind"] == kind and wanted(p) and (name != "udpu" or s.capture == name)
        )
        specimen = next(matching, None)
        if specimen is None:
            print(f"no capture shows: {kind}, {name}", file=sys.stderr)
            continue
        yield Vector(specimen, f"leave, {name}" if kind == "leave" else name, what)
        if name in PACKED_NAMES:
            yield Vector(Specimen("packed", specimen.data[45:], specimen.capture, specimen.frames), name, what)


def _choose_messages(reader: Reader) -> Iterator[Vector]:
    seen: dict[str, list[Specimen]] = {}
    for specimen in reader.messages:
        message = plain(groups.GROUP_MESSAGE.parse(specimen.data))
        body = message["body"]
        ident = int.from_bytes(body[:4], "little")
        in_sync = message["groups"] == [groups.SYNC_GROUP]
        kind = (sync.MESSAGES[ident] if in_sync else services.MESSAGES[ident >> 16, ident & 0xFFFF])[0]
        chosen = seen.setdefault(kind, [])
        found = Specimen(kind, body, specimen.capture, specimen.frames)
        if len(body) > 4096 or _resembles(found, chosen):
            continue
        chosen.append(found)
        if len(chosen) == 1:
            yield Vector(
                Specimen("group_message", specimen.data, specimen.capture, specimen.frames), kind, "whole message"
            )
    for kind, chosen in sorted(seen.items()):
        for number, specimen in enumerate(chosen, 1):
            yield Vector(specimen, f"{kind} {number}", MESSAGE_WHAT[kind])


TELLING_FIELDS = {
    "cpg_procleave": ("reason",),
    "cpg_downlist": ("old_members", "left"),
    "votequorum_nodeinfo": ("votes", "expected_votes", "flags"),
    "votequorum_reconfigure": ("value", "param"),
    "cmap_mcast": ("reason", "items"),
}
"""Of these kinds, messages that differ in these fields are worth a vector each; of others the first few."""


def _resembles(found: Specimen, chosen: list[Specimen]) -> bool:
    """A message like it is there already, or enough of its kind."""
    telling = TELLING_FIELDS.get(found.kind)
    if telling is None:
        return len(chosen) >= MESSAGES_PER_KIND or any(other.data == found.data for other in chosen)
    definition = DEFINITIONS[found.kind]
    mine = plain(definition.parse(found.data))
    return any(
        all(mine[name] == theirs[name] for name in telling)
        for theirs in (plain(definition.parse(other.data)) for other in chosen)
    )


def _direct_token() -> Iterator[Vector]:
    """What only totemd nodes send."""
    ring = {"rep": 1, "seq": 9}

    def head(kind: int, nodeid: int) -> dict[str, int]:
        return {"type": kind, "encapsulated": 0, "nodeid": nodeid, "target_nodeid": 0}

    loan = {"header": head(totem.TOKEN_LOAN_TYPE, 1), "ring": ring, "token_seq": 5001, "seq": 77, "base": 77}
    back = {"header": head(totem.TOKEN_LOAN_TYPE, 3), "ring": ring, "token_seq": 5002, "seq": 80, "base": 77}
    ask = {"header": head(totem.TOKEN_ASK_TYPE, 3), "ring": ring, "asker": 3, "token_seq": 4999, "hops": 0}
    taken = {"header": head(totem.TOKEN_TAKEN_TYPE, 3), "ring": ring, "token_seq": 5001}
    specimens: list[tuple[str, str, dict[str, Any]]] = [
        ("token_ask", "to the representative", ask),
        ("token_ask", "passed on", {**ask, "header": head(totem.TOKEN_ASK_TYPE, 1), "hops": 1}),
        ("token_loan", "lent", {**loan, "age_us": 1500, "lap": 0}),
        ("token_loan", "given back for a rotation", {**back, "age_us": 8000, "lap": 1}),
        ("token_loan", "given back, several nodes want to send", {**back, "age_us": 8000, "lap": 2}),
        ("token_taken", "the answer to a copy", taken),
        ("announcement", "direct token", {"features": 1}),
    ]
    for kind, name, fields in specimens:
        yield Vector(Specimen(kind, DEFINITIONS[kind].build(fields), "", []), name, CONSTRUCTED, "")


SEALED_WITH = {
    "secret": bytes(range(100, 132)),
    "cluster_id": bytes(range(16)),
    "nodeid": 3,
    "session": bytes(range(200, 216)),
}
"""Of the vectors of sealed datagrams; the suite is the vector's first word."""


RECEIVER = 1
"""Of those that are for one node."""


def _sealed() -> Iterator[Vector]:
    """Sealed datagrams, and what seals say to each other."""
    token = DEFINITIONS["token_taken"].build(
        {"header": {"encapsulated": 0, "nodeid": 3, "target_nodeid": 0}, "ring": {"rep": 1, "seq": 9}, "token_seq": 7}
    )
    credentials = {
        "cluster_id": SEALED_WITH["cluster_id"], "uuid": bytes(range(16, 32)), "nodeid": 3, "config_version": 12,
        "config_digest": bytes(range(32, 48)), "features": 0, "name": b"pike",
    }  # fmt: skip
    nonce, session = bytes(range(64, 80)), SEALED_WITH["session"]
    ruling = {"session": session, "nonce": nonce, "reason": 2, "text": b"was removed", "remedy": b"join"}
    messages: list[tuple[str, str, dict[str, Any]]] = [
        ("seal_hello", "after the start", {}),
        ("seal_challenge", "to a node", {"nonce": nonce}),
        ("seal_response", "of node 3", {"nonce": nonce, "credentials": credentials}),
        ("seal_response", "without a name", {"nonce": nonce, "credentials": {**credentials, "name": b""}}),
        ("seal_ruling", "admitted", {**ruling, "reason": 0, "text": b"", "remedy": b""}),
        ("seal_ruling", "removed", ruling),
        ("seal_body", "empty", {"data": b""}),
    ]
    for kind, name, fields in messages:
        yield Vector(Specimen(kind, DEFINITIONS[kind].build(fields), "", []), name, CONSTRUCTED, "")
    challenge = DEFINITIONS["seal_challenge"].build({"nonce": nonce})
    hello = DEFINITIONS["seal_hello"].build({})
    contents = [
        ("taken", sealed.RING_TO_ONE, token, 1),
        ("taken, to all", sealed.RING, token, 2),
        ("hello", sealed.CONTROL, hello, 3),
        ("challenge", sealed.CONTROL_TO_ONE, challenge, 1 << 40),
    ]
    for suite in sealed.SUITES:
        for name, content, data, counter in contents if suite in ("aes256", "chacha20") else contents[:1]:
            receiver = RECEIVER if content in (sealed.RING_TO_ONE, sealed.CONTROL_TO_ONE) else 0
            made = sealed.seal(
                suite=suite, content=content, counter=counter, data=data, receiver=receiver, **SEALED_WITH
            )
            yield Vector(Specimen("sealed", made, "", []), f"{suite} {name}", CONSTRUCTED, "")


def _changes() -> Iterator[Vector]:
    """Messages of the replicated configuration."""
    ring = {"rep": 1, "seq": 9}
    ident, other = bytes(range(16)), bytes(range(16, 32))
    state = {"version": 7, "ident": ident, "digest": bytes(range(32, 48)), "highest": 8}
    nothing = {"accepted_seq": 0, "accepted_number": 0, "accepted_version": 0, "accepted_ident": bytes(16)}
    change = {"accepted_seq": 5, "accepted_number": 1, "accepted_version": 8, "accepted_ident": other}
    specimens: list[tuple[str, str, dict[str, Any]]] = [
        ("state", "confirmed", {**state, **nothing, "flags": 1, "accepted_members": []}),
        ("state", "with a change in doubt", {**state, **change, "flags": 5, "accepted_members": [1, 2, 4]}),
        ("record", "what others lack", {"data": b"a record"}),
        ("propose", "a change", {"data": b"a change"}),
        ("prepared", "the second attempt", {"number": 2}),
        ("rejected", "with a reason", {"number": 1, "reason": "fsck läuft".encode()}),
        ("commit", "the second attempt", {"number": 2}),
        ("withdraw", "late", {"number": 1, "reason": b"not prepared within 10 s: node 3"}),
        ("confirm", "version 7", {"version": 7, "ident": ident}),
        ("check", "a text", {"ident": other, "data": b"totem {\n}\n"}),
        ("checked", "good", {"ident": other, "reason": b""}),
        ("checked", "bad", {"ident": other, "reason": b"totem.version is missing"}),
        ("revert", "version 7", {"version": 7, "ident": ident}),
    ]
    for name, what, fields in specimens:
        kind = f"changes_{name}"
        header = {"id": _message_id(kind), "size": 0, "ring": ring}
        size = len(DEFINITIONS[kind].build({**header, **fields}))
        data = DEFINITIONS[kind].build({**header, "size": size, **fields})
        yield Vector(Specimen(kind, data, "", []), what, CONSTRUCTED, "")


def _message_id(kind: str) -> int:
    return next(service << 16 | function for (service, function), (k, _) in services.MESSAGES.items() if k == kind)


def _constructed() -> Iterator[Vector]:
    ident = {kind: service << 16 | function for (service, function), (kind, _) in services.MESSAGES.items()}
    specimens: list[tuple[str, str, dict[str, Any]]] = [
        ("cfg_ringreenable", "never sent by real nodes", {"size": 32, "source": {"nodeid": 2, "connection": 77}}),
        ("cfg_crypto_reconfig", "phase 1", {"size": 24, "phase": 1}),
        ("cfg_crypto_reconfig", "phase 2", {"size": 24, "phase": 2}),
        ("cpg_downlist_old", "never sent by real nodes", {"size": 1560, "left": [3, 4]}),
        ("cpg_partial_mcast", "first part",
         {"size": 216, "group": b"totem\0", "msglen": 32, "pid": 4711, "type": 1,
          "source": {"nodeid": 1, "connection": 5}, "data": bytes(range(16))}),
        ("cmap_mcast", "two items",
         {"size": 48 + 288 + 296, "reason": 1, "reserved1": 0, "reserved2": 0, "items": [
             {"name": b"totem.config_version", "type": 8, "value": (9).to_bytes(8, "little")},
             {"name": b"totem.cluster_name", "type": 11, "value": b"specimens\0"}]}),
    ]  # fmt: skip
    for kind, name, fields in specimens:
        data = DEFINITIONS[kind].build({"id": ident[kind], **fields})
        yield Vector(Specimen(kind, data, "", []), name, CONSTRUCTED, "")
    frames: list[tuple[str, dict[str, Any]]] = [
        ("hello", {"hello": {"protocol": 1, "client": "totemctl"}}),
        ("request", {"id": 7, "do": "status"}),
        ("reply", {"id": 7, "ok": {"quorate": True, "nodeid": 2}}),
        ("error", {"id": 8, "error": {"code": "try_again", "message": "the send queue is full"}}),
        ("event", {"event": "deliver", "of": 9, "data": {"group": b"g", "nodeid": 1, "pid": 3, "data": b"\x00\xff"}}),
    ]
    for name, frame in frames:
        yield Vector(Specimen("native_frame", native.build_frame(frame), "", []), name, CONSTRUCTED, "")


def _ignored(kind: str, data: bytes) -> list[list[int]]:
    """[offset, size] of bytes that carry nothing: padding with garbage in it, and a target node id."""
    definition = DEFINITIONS[kind]
    fields = definition.parse(data)
    if "header" in fields:
        fields.header.target_nodeid = 0
    rebuilt = definition.build(fields)
    if len(rebuilt) != len(data):
        raise SystemExit(f"{kind}: {len(data)} bytes rebuilt as {len(rebuilt)}")
    ranges: list[list[int]] = []
    for offset in (offset for offset in range(len(data)) if data[offset] != rebuilt[offset]):
        if ranges and sum(ranges[-1]) == offset:
            ranges[-1][1] += 1
        else:
            ranges.append([offset, 1])
    return ranges


def _entry(vector: Vector) -> dict[str, Any]:
    specimen = vector.specimen
    provenance: dict[str, Any] = {"what": vector.what}
    if specimen.capture:
        provenance = {"peer": vector.peer, "capture": specimen.capture, "frames": specimen.frames[-8:], **provenance}
    return {
        "name": vector.name,
        "provenance": provenance,
        "fields": to_json(plain(DEFINITIONS[specimen.kind].parse(specimen.data))),
        "ignored": _ignored(specimen.kind, specimen.data),
        "hex": specimen.data.hex(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the golden vectors from captures of real nodes.")
    parser.add_argument("captures", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, required=True, metavar="DIRECTORY")
    arguments = parser.parse_args()
    reader = Reader()
    for path in sorted(arguments.captures, key=lambda path: (path.name != "ring.pcap.gz", path.name)):
        reader.read(path)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    ours = [*_direct_token(), *_sealed(), *_changes(), *_constructed()]
    for vector in [*_choose_packets(reader), *_choose_messages(reader), *ours]:
        by_kind.setdefault(vector.specimen.kind, []).append(_entry(vector))
    for kind in DEFINITIONS:
        if kind not in by_kind:
            print(f"no vector of {kind}", file=sys.stderr)
            continue
        text = json.dumps({"kind": kind, "vectors": by_kind[kind]}, indent=1)
        (arguments.into / f"{kind}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
