"""Codec = definition = golden vector, for every kind of packet and message (protocol/vectors/).

The definitions and the daemon's codecs were written apart from each other; the vectors are what real nodes sent.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from construct import ConstructError

from totemd.cli.decode import has_error
from totemd.errors import BadPacket
from totemd.ids import RingId
from totemd.ipc.frames import FrameDecoder, encode_frame
from totemd.seal import ADMITTED, Credentials, Key, Reason, Verdict
from totemd.seal import messages as seal_messages
from totemd.seal.datagram import HEADER_SIZE, NONCE_AT, OVERHEAD_BYTES, Header, Kind, decode_header, encode_header
from totemd.seal.suite import Suite
from totemd.wire import cfg, changes, cmap, cpg, groups, packets, service, sync, votequorum
from totemd_protocol.catalogue import DEFINITIONS, from_json
from totemd_protocol.describe import describe, plain

VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"
PACKETS = frozenset({"orf_token", "mcast", "merge_detect", "join", "commit_token", "hold_cancel"}) | {
    "token_ask",
    "token_loan",
    "token_taken",
}

Fields = dict[str, Any]


@dataclass(frozen=True)
class Vector:
    """One golden vector, read."""

    kind: str
    name: str
    data: bytes
    fields: Fields
    ignored: tuple[tuple[int, int], ...]

    def masked(self, data: bytes) -> bytes:
        """`data` with the bytes that carry nothing set to zero."""
        result = bytearray(data)
        for offset, size in self.ignored:
            result[offset : offset + size] = bytes(size)
        return bytes(result)


def _load() -> Iterator[Vector]:
    for path in sorted(VECTORS.glob("*.json")):
        collection = json.loads(path.read_text())
        for entry in collection["vectors"]:
            yield Vector(
                collection["kind"],
                entry["name"],
                bytes.fromhex(entry["hex"]),
                from_json(entry["fields"]),
                tuple((offset, size) for offset, size in entry["ignored"]),
            )


ALL = list(_load())
CODED = [vector for vector in ALL if vector.kind != "native_frame"]


def _name(vector: Vector) -> str:
    return f"{vector.kind}: {vector.name}"


@dataclass(frozen=True)
class Codec:
    """The daemon's codec of one kind, and the record that it must make of a vector's fields."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    record: Callable[[Fields, bytes], Any]


def _ring(fields: Fields) -> RingId:
    return RingId(fields["rep"], fields["seq"])


def _token(f: Fields, _: bytes) -> packets.OrfToken:
    header = f["header"]
    requests = tuple((_ring(request["ring"]), request["seq"]) for request in f["rtr_list"])
    return packets.OrfToken(
        header["nodeid"], header["target_nodeid"], f["seq"], f["token_seq"], f["aru"], f["aru_addr"], _ring(f["ring"]),
        f["backlog"], f["fcc"], f["retrans_flg"], requests,
    )  # fmt: skip


def _mcast(f: Fields, data: bytes) -> packets.Mcast:
    header = f["header"]
    return packets.Mcast(
        header["nodeid"], header["encapsulated"], f["system_from"], f["seq"], f["this_seqno"], _ring(f["ring"]),
        f["guarantee"], data,
    )  # fmt: skip


def _encode_mcast(mcast: packets.Mcast) -> bytes:
    assert mcast.sender == mcast.system_from
    return packets.encode_mcast(
        mcast.sender, mcast.encapsulated, mcast.seq, mcast.this_seqno, mcast.ring, mcast.guarantee, mcast.payload
    )


def _commit(f: Fields, _: bytes) -> packets.CommitToken:
    entries = tuple(
        packets.CommitEntry(_ring(e["ring"]), e["aru"], e["high_delivered"], e["received_flg"]) for e in f["memb_list"]
    )
    return packets.CommitToken(
        f["header"]["nodeid"], f["token_seq"], _ring(f["ring"]), f["memb_index"], tuple(f["addr"]), entries
    )


def _join(f: Fields, _: bytes) -> packets.Join:
    return packets.Join(
        f["header"]["nodeid"], f["system_from"], f["ring_seq"], tuple(f["proc_list"]), tuple(f["failed_list"])
    )


def _ask(f: Fields, _: bytes) -> packets.TokenAsk:
    return packets.TokenAsk(f["header"]["nodeid"], _ring(f["ring"]), f["asker"], f["token_seq"], f["hops"])


def _loan(f: Fields, _: bytes) -> packets.TokenLoan:
    return packets.TokenLoan(
        f["header"]["nodeid"], _ring(f["ring"]), f["token_seq"], f["seq"], f["base"], f["age_us"], packets.Lap(f["lap"])
    )


def _cmap_values(f: Fields, _: bytes) -> cmap.CmapValues:
    items = tuple(cmap.CmapItem(item["name"], item["type"], item["value"]) for item in f["items"])
    return cmap.CmapValues(f["reason"], items)


def _proc_change(f: Fields, _: bytes) -> cpg.ProcChange:
    return cpg.ProcChange(f["group"], f["pid"], f["reason"])


def _partial(f: Fields, _: bytes) -> cpg.PartialMcast:
    source = f["source"]
    return cpg.PartialMcast(
        f["group"], f["pid"], f["type"], f["msglen"], source["nodeid"], source["connection"], f["data"]
    )


def _sealed(data: bytes) -> tuple[Header, bytes]:
    header = decode_header(data)
    return header, data[HEADER_SIZE:]


def _sealed_record(f: Fields, _: bytes) -> tuple[Header, bytes]:
    return Header(Kind(f["content"]), f["key"], f["nodeid"], f["session"], f["counter"]), f["sealed"]


def _seal_response(f: Fields, _: bytes) -> seal_messages.Response:
    c = f["credentials"]
    credentials = Credentials(
        c["cluster_id"], c["uuid"], c["nodeid"], c["name"].decode(), c["config_version"], c["config_digest"],
        c["features"],
    )  # fmt: skip
    return seal_messages.Response(f["nonce"], credentials)


def _seal_ruling(f: Fields, _: bytes) -> seal_messages.Ruling:
    verdict = ADMITTED
    if f["reason"]:
        verdict = Verdict(list(Reason)[f["reason"] - 1], f["text"].decode(), f["remedy"].decode())
    return seal_messages.Ruling(f["session"], f["nonce"], verdict)


def _seal_message(record: Callable[[Fields, bytes], Any]) -> Codec:
    return Codec(seal_messages.decode_message, seal_messages.encode_message, record)


def _constant(data: bytes) -> Callable[[None], bytes]:
    return lambda _: data


OLD_DOWN_LIST = next(vector.data for vector in ALL if vector.kind == "cpg_downlist_old")


def _changes(function: changes.ChangesFunction, record: Callable[[Fields], changes.ChangesMessage]) -> Codec:
    return Codec(lambda data: changes.decode_changes(function, data), changes.encode_changes, lambda f, _: record(f))


def _state(f: Fields) -> changes.State:
    accepted = (f["accepted_seq"], f["accepted_number"], f["accepted_version"], f["accepted_ident"])
    known = (f["version"], f["ident"], f["digest"], f["flags"], f["highest"])
    return changes.State(_ring(f["ring"]), *known, *accepted, tuple(f["accepted_members"]))


_CHANGES = {
    f"changes_{function.name.lower()}": _changes(function, record)
    for function, record in (
        (changes.ChangesFunction.STATE, _state),
        (changes.ChangesFunction.RECORD, lambda f: changes.Record(_ring(f["ring"]), f["data"])),
        (changes.ChangesFunction.PROPOSE, lambda f: changes.Propose(_ring(f["ring"]), f["data"])),
        (changes.ChangesFunction.PREPARED, lambda f: changes.Prepared(_ring(f["ring"]), f["number"])),
        (
            changes.ChangesFunction.REJECTED,
            lambda f: changes.Rejected(_ring(f["ring"]), f["number"], f["reason"].decode()),
        ),
        (changes.ChangesFunction.COMMIT, lambda f: changes.Commit(_ring(f["ring"]), f["number"])),
        (
            changes.ChangesFunction.WITHDRAW,
            lambda f: changes.Withdraw(_ring(f["ring"]), f["number"], f["reason"].decode()),
        ),
        (changes.ChangesFunction.CONFIRM, lambda f: changes.Confirm(_ring(f["ring"]), f["version"], f["ident"])),
        (changes.ChangesFunction.CHECK, lambda f: changes.Check(_ring(f["ring"]), f["ident"], f["data"])),
        (
            changes.ChangesFunction.CHECKED,
            lambda f: changes.Checked(_ring(f["ring"]), f["ident"], f["reason"].decode()),
        ),
        (changes.ChangesFunction.REVERT, lambda f: changes.Revert(_ring(f["ring"]), f["version"], f["ident"])),
    )
}


CODECS: dict[str, Codec] = {
    "orf_token": Codec(packets.decode_packet, packets.encode_orf_token, _token),
    "mcast": Codec(packets.decode_packet, _encode_mcast, _mcast),
    "merge_detect": Codec(
        packets.decode_packet,
        packets.encode_merge_detect,
        lambda f, _: packets.MergeDetect(f["header"]["nodeid"], f["system_from"], _ring(f["ring"])),
    ),
    "join": Codec(packets.decode_packet, packets.encode_join, _join),
    "commit_token": Codec(packets.decode_packet, packets.encode_commit_token, _commit),
    "hold_cancel": Codec(
        packets.decode_packet,
        packets.encode_hold_cancel,
        lambda f, _: packets.HoldCancel(f["header"]["nodeid"], _ring(f["ring"])),
    ),
    "token_ask": Codec(packets.decode_packet, packets.encode_token_ask, _ask),
    "token_loan": Codec(packets.decode_packet, packets.encode_token_loan, _loan),
    "token_taken": Codec(
        packets.decode_packet,
        packets.encode_token_taken,
        lambda f, _: packets.TokenTaken(f["header"]["nodeid"], _ring(f["ring"]), f["token_seq"]),
    ),
    "announcement": Codec(packets.decode_announcement, packets.encode_announcement, lambda f, _: f["features"]),
    "packed": Codec(
        groups.decode_group_packet,
        lambda packet: groups.encode_group_packet(packet.fragmented, packet.continuation, packet.pieces),
        lambda f, _: groups.GroupPacket(f["fragmented"], f["continuation"], f["pieces"]),
    ),
    "group_message": Codec(
        groups.decode_group_message,
        lambda message: groups.encode_group_message(message[0][0], message[1]),
        lambda f, _: (tuple(f["groups"]), f["body"]),
    ),
    "barrier": Codec(sync.decode_sync, sync.encode_barrier, lambda f, _: sync.Barrier(_ring(f["ring"]))),
    "service_build": Codec(
        sync.decode_sync,
        sync.encode_service_build,
        lambda f, _: sync.ServiceBuild(_ring(f["ring"]), tuple(f["services"])),
    ),
    "cmap_mcast": Codec(cmap.decode_cmap_values, cmap.encode_cmap_values, _cmap_values),
    "cfg_ringreenable": Codec(
        cfg.decode_ring_reenable,
        cfg.encode_ring_reenable,
        lambda f, _: cfg.RingReenable(f["source"]["nodeid"], f["source"]["connection"]),
    ),
    "cfg_killnode": Codec(
        cfg.decode_kill_node,
        cfg.encode_kill_node,
        lambda f, _: cfg.KillNode(f["nodeid"], f["reason"].rstrip(b"\0").decode()),
    ),
    "cfg_shutdown": Codec(cfg.decode_shutdown, lambda _: cfg.encode_shutdown(), lambda f, _: None),
    "cfg_reload_config": Codec(
        cfg.decode_reload_config,
        cfg.encode_reload_config,
        lambda f, _: cfg.ReloadConfig(f["source"]["nodeid"], f["source"]["connection"]),
    ),
    "cfg_crypto_reconfig": Codec(
        cfg.decode_crypto_reconfig, cfg.encode_crypto_reconfig, lambda f, _: cfg.CryptoReconfig(f["phase"])
    ),
    "cpg_procjoin": Codec(cpg.decode_proc_join, cpg.encode_proc_join, _proc_change),
    "cpg_procleave": Codec(cpg.decode_proc_leave, cpg.encode_proc_leave, _proc_change),
    "cpg_joinlist": Codec(
        cpg.decode_join_list,
        cpg.encode_join_list,
        lambda f, _: cpg.JoinList(tuple(cpg.JoinListEntry(e["pid"], e["group"]) for e in f["entries"])),
    ),
    "cpg_mcast": Codec(
        cpg.decode_mcast,
        cpg.encode_mcast,
        lambda f, _: cpg.Mcast(f["group"], f["pid"], f["source"]["nodeid"], f["source"]["connection"], f["data"]),
    ),
    # read for its length only, never sent
    "cpg_downlist_old": Codec(cpg.decode_down_list_old, _constant(OLD_DOWN_LIST), lambda f, _: None),
    "cpg_downlist": Codec(
        cpg.decode_down_list, cpg.encode_down_list, lambda f, _: cpg.DownList(f["old_members"], tuple(f["left"]))
    ),
    "cpg_partial_mcast": Codec(cpg.decode_partial_mcast, cpg.encode_partial_mcast, _partial),
    "votequorum_nodeinfo": Codec(
        votequorum.decode_nodeinfo,
        votequorum.encode_nodeinfo,
        lambda f, _: votequorum.NodeInfo(f["nodeid"], f["votes"], f["expected_votes"], f["flags"]),
    ),
    "votequorum_reconfigure": Codec(
        votequorum.decode_reconfigure,
        votequorum.encode_reconfigure,
        lambda f, _: votequorum.Reconfigure(f["nodeid"], f["value"], f["param"]),
    ),
    "votequorum_qdevice_reg": Codec(
        votequorum.decode_qdevice_reg,
        votequorum.encode_qdevice_reg,
        lambda f, _: votequorum.QdeviceReg(f["operation"], f["name"]),
    ),
    **_CHANGES,
    "sealed": Codec(_sealed, lambda sealed: encode_header(sealed[0]) + sealed[1], _sealed_record),
    "seal_hello": _seal_message(lambda f, _: seal_messages.Hello()),
    "seal_challenge": _seal_message(lambda f, _: seal_messages.Challenge(f["nonce"])),
    "seal_response": _seal_message(_seal_response),
    "seal_ruling": _seal_message(_seal_ruling),
    "seal_body": _seal_message(lambda f, _: seal_messages.Body(f["data"])),
    "votequorum_qdevice_reconfigure": Codec(
        votequorum.decode_qdevice_reconfigure,
        votequorum.encode_qdevice_reconfigure,
        lambda f, _: votequorum.QdeviceReconfigure(f["old_name"], f["new_name"]),
    ),
}

SERVICE_KINDS: dict[tuple[int, int], str] = {
    (0, 0): "cmap_mcast",
    (1, 0): "cfg_ringreenable",
    (1, 1): "cfg_killnode",
    (1, 2): "cfg_shutdown",
    (1, 3): "cfg_reload_config",
    (1, 4): "cfg_crypto_reconfig",
    (2, 0): "cpg_procjoin",
    (2, 1): "cpg_procleave",
    (2, 2): "cpg_joinlist",
    (2, 3): "cpg_mcast",
    (2, 4): "cpg_downlist_old",
    (2, 5): "cpg_downlist",
    (2, 6): "cpg_partial_mcast",
    (5, 0): "votequorum_nodeinfo",
    (5, 1): "votequorum_reconfigure",
    (5, 2): "votequorum_qdevice_reg",
    (5, 3): "votequorum_qdevice_reconfigure",
    **{(32, function): f"changes_{function.name.lower()}" for function in changes.ChangesFunction},
}


def _decode_whole(kind: str, data: bytes) -> None:
    """Decode as deep as a receiver does: a packet's payload and a message's body too."""
    decoded = CODECS[kind].decode(data)
    if kind == "mcast" and decoded.encapsulated == packets.ENCAPSULATED:
        _decode_whole("mcast", decoded.payload)
    elif kind == "mcast":
        groups.decode_group_packet(decoded.payload)
    elif kind == "group_message":
        names, body = decoded
        if names == (groups.SYNC_GROUP,):
            sync.decode_sync(body)
        else:
            header = service.decode_service_header(body)
            _decode_whole(SERVICE_KINDS[header.service, header.function], body)


def test_every_definition_has_a_vector_and_every_vector_a_codec() -> None:
    assert {vector.kind for vector in ALL} == set(DEFINITIONS) == set(CODECS) | {"native_frame"}


@pytest.mark.parametrize("vector", ALL, ids=_name)
def test_definition_is_vector(vector: Vector) -> None:
    definition = DEFINITIONS[vector.kind]
    assert plain(definition.parse(vector.data)) == vector.fields
    assert vector.masked(definition.build(vector.fields)) == vector.masked(vector.data)


@pytest.mark.parametrize("vector", CODED, ids=_name)
def test_codec_is_vector(vector: Vector) -> None:
    codec = CODECS[vector.kind]
    record = codec.record(vector.fields, vector.data)
    assert codec.decode(vector.data) == record
    assert vector.masked(codec.encode(record)) == vector.masked(vector.data)


def _shortest(vector: Vector) -> int:
    """Bytes below which a reader without a key must notice that something is missing."""
    return OVERHEAD_BYTES if vector.kind == "sealed" else len(vector.data)


@pytest.mark.parametrize("vector", CODED, ids=_name)
def test_every_truncation_is_a_bad_packet(vector: Vector) -> None:
    for size in range(_shortest(vector)):
        with pytest.raises(BadPacket):
            _decode_whole(vector.kind, vector.data[:size])


@pytest.mark.parametrize("vector", CODED, ids=_name)
def test_truncation_is_an_error_of_the_definition_too(vector: Vector) -> None:
    stride = 1 if len(vector.data) < 100 else 41
    for size in range(0, _shortest(vector), stride):
        if vector.kind in PACKETS:
            assert has_error(describe(vector.data[:size])), size
        elif vector.kind != "group_message":
            with pytest.raises(ConstructError):
                DEFINITIONS[vector.kind].parse(vector.data[:size])


@pytest.mark.parametrize("vector", [vector for vector in ALL if vector.kind == "native_frame"], ids=_name)
def test_native_frame_is_vector(vector: Vector) -> None:
    assert FrameDecoder().feed(vector.data) == [vector.fields["body"]]
    assert encode_frame(vector.fields["body"]) == vector.data
    for size in range(len(vector.data)):
        assert FrameDecoder().feed(vector.data[:size]) == []


SEALED = [vector for vector in ALL if vector.kind == "sealed"]


@pytest.mark.parametrize("vector", SEALED, ids=_name)
def test_the_daemons_suite_opens_and_seals_as_the_vector(vector: Vector) -> None:
    """The vector's bytes were made without the daemon's code (totemd_protocol.sealed)."""
    key = Key.of(bytes(range(100, 132)))
    header = decode_header(vector.data)
    assert header.key_ident == key.ident
    aead = Suite(vector.name.split()[0], bytes(range(16))).session(
        key, header.sender, header.session, 1 if header.kind.to_one else 0
    )
    front = vector.data[:HEADER_SIZE]
    plain = aead.decrypt(front[NONCE_AT:], vector.data[HEADER_SIZE:], front)
    assert front + aead.encrypt(front[NONCE_AT:], plain, front) == vector.data
    if not header.kind.is_control:
        assert describe(plain)["kind"] == "token_taken"
    else:
        expected = seal_messages.Challenge if header.kind.to_one else seal_messages.Hello
        assert isinstance(seal_messages.decode_message(plain), expected)
    assert describe(vector.data)["kind"] == "sealed"
