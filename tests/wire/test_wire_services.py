"""Codecs of cpg, cmap and cfg: layout, round trips, and what they do with bytes that are no messages.

The messages from corosync were captured from version 3.1.7; runs of zeros are written as (count).
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import BadPacket
from totemd.wire import cfg, cmap, cpg
from totemd.wire.service import decode_service_header

u32 = st.integers(0, (1 << 32) - 1)
u64 = st.integers(0, (1 << 64) - 1)
names = st.binary(max_size=128)
proc_changes = st.builds(cpg.ProcChange, names, u32, u32)
mcasts = st.builds(cpg.Mcast, names, u32, u32, u64, st.binary(max_size=300))
partials = st.builds(cpg.PartialMcast, names, u32, st.integers(1, 3), u32, u32, u64, st.binary(max_size=300))
join_lists = st.builds(cpg.JoinList, st.lists(st.builds(cpg.JoinListEntry, u32, names), max_size=5).map(tuple))
down_lists = st.builds(cpg.DownList, u32, st.lists(u32, max_size=384).map(tuple))
reasons = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=255)
items = st.builds(cmap.CmapItem, st.binary(max_size=255), st.integers(0, 255), st.binary(max_size=40))
values = st.builds(cmap.CmapValues, st.integers(0, 255), st.lists(items, max_size=4).map(tuple))

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]
CODECS: dict[str, tuple[Encode, Decode, st.SearchStrategy[Any], int]] = {
    "proc join": (cpg.encode_proc_join, cpg.decode_proc_join, proc_changes, 0x20000),
    "proc leave": (cpg.encode_proc_leave, cpg.decode_proc_leave, proc_changes, 0x20001),
    "join list": (cpg.encode_join_list, cpg.decode_join_list, join_lists, 0x20002),
    "mcast": (cpg.encode_mcast, cpg.decode_mcast, mcasts, 0x20003),
    "down list": (cpg.encode_down_list, cpg.decode_down_list, down_lists, 0x20005),
    "partial mcast": (cpg.encode_partial_mcast, cpg.decode_partial_mcast, partials, 0x20006),
    "ring reenable": (
        cfg.encode_ring_reenable,
        cfg.decode_ring_reenable,
        st.builds(cfg.RingReenable, u32, u64),
        0x10000,
    ),
    "kill node": (cfg.encode_kill_node, cfg.decode_kill_node, st.builds(cfg.KillNode, u32, reasons), 0x10001),
    "shutdown": (lambda _: cfg.encode_shutdown(), cfg.decode_shutdown, st.none(), 0x10002),
    "reload": (cfg.encode_reload_config, cfg.decode_reload_config, st.builds(cfg.ReloadConfig, u32, u64), 0x10003),
    "crypto": (cfg.encode_crypto_reconfig, cfg.decode_crypto_reconfig, st.builds(cfg.CryptoReconfig, u32), 0x10004),
    "cmap values": (cmap.encode_cmap_values, cmap.decode_cmap_values, values, 0),
}
every_codec = pytest.mark.parametrize("name", CODECS)


@every_codec
@given(st.data())
def test_messages_survive_the_wire(name: str, data: st.DataObject) -> None:
    encode, decode, records, ident = CODECS[name]
    record = data.draw(records)
    message = encode(record)
    header = decode_service_header(message)
    assert (header.service << 16 | header.function, header.size) == (ident, len(message))
    assert decode(message) == record


@every_codec
@given(st.data())
def test_messages_cut_short_are_refused(name: str, data: st.DataObject) -> None:
    encode, decode, records, _ = CODECS[name]
    message = encode(data.draw(records))
    with pytest.raises(BadPacket):
        decode(message[: data.draw(st.integers(0, len(message) - 1))])


@every_codec
@given(st.data())
def test_damaged_messages_raise_nothing_else(name: str, data: st.DataObject) -> None:
    encode, decode, records, _ = CODECS[name]
    message = bytearray(encode(data.draw(records)))
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(message) - 1), st.integers(0, 255)))):
        message[place] = byte
    for candidate in (bytes(message), data.draw(st.binary(max_size=2000))):
        with suppress(BadPacket):
            decode(candidate)


def unfold(text: str) -> bytes:
    """Hex with (count) for a run of zero bytes."""
    return bytes.fromhex(re.sub(r"\((\d+)\)", lambda run: "00" * int(run[1]), text))


LAT = "03000000 (4) 6c6174 (125)"  # the group's name, "lat"


@pytest.mark.parametrize(
    ("name", "text", "record"),
    [
        ("proc join", f"00000200(4)a8000000(4){LAT}0e470000(4)01000000(4)", cpg.ProcChange(b"lat", 0x470E, 1)),
        ("proc leave", f"01000200(4)a8000000(4){LAT}10470000(4)05000000(4)", cpg.ProcChange(b"lat", 0x4710, 5)),
        (
            "join list",
            f"02000200(4)a8000000(4)(8)a3520000(4){LAT}",
            cpg.JoinList((cpg.JoinListEntry(0x52A3, b"lat"),)),
        ),
        (
            "mcast",
            f"03000200(4)f8000000(4){LAT}40000000(4)10470000(4)01000000(4)1001f7a1a9550000efcdab00(4)ca6c293874010000(48)",
            cpg.Mcast(b"lat", 0x4710, 1, 0x55A9A1F70110, bytes.fromhex("efcdab0000000000ca6c293874010000") + bytes(48)),
        ),
        (
            "cmap values",
            "(8)48010000(4)(8)01(7)(16)1400(6)746f74656d2e636f6e6669675f76657273696f6e(236)(16)",
            cmap.CmapValues(0, (cmap.CmapItem(b"totem.config_version", 0, b""),)),
        ),
    ],
)
def test_messages_of_corosync(name: str, text: str, record: object) -> None:
    encode, decode, _, _ = CODECS[name]
    message = unfold(text)
    assert decode(message) == record
    assert encode(record) == message


def test_the_layouts_that_no_capture_has() -> None:
    down = cpg.encode_down_list(cpg.DownList(3, (7, 9)))
    assert down == unfold("05000200(4)20060000(4)03000000(4)02000000(4)07000000 09000000(1528)")
    partial = cpg.encode_partial_mcast(cpg.PartialMcast(b"lat", 5, 2, 10, 3, 4, b"abc"))
    fields = "0a000000(4)03000000(4)05000000(4)02000000(4)03000000(4)0400000000000000"
    assert partial == unfold(f"06000200(4)cb000000(4){LAT}{fields}616263")
    assert cfg.encode_kill_node(cfg.KillNode(5, "why")) == unfold("01000100(4)20010000(4)05000000(4)0400(6)776879(253)")
    assert cfg.encode_reload_config(cfg.ReloadConfig(5, 6)) == unfold(
        "03000100(4)20000000(4)05000000(4)0600000000000000"
    )
    assert cfg.encode_crypto_reconfig(cfg.CryptoReconfig(1)) == unfold("04000100(4)18000000(4)01000000(4)")
    assert cmap.encode_config_version(cmap.CmapReason.NEW_CONFIG_VERSION, 7) == unfold(
        "(8)50010000(4)01(7)01(7)(16)1400(6)746f74656d2e636f6e6669675f76657273696f6e(236)08(7)0800000000000000"
        "0700000000000000"
    )


def test_lengths_that_lie() -> None:
    def altered(message: bytes, place: int, value: int, size: int = 4) -> bytes:
        return message[:place] + value.to_bytes(size, "little") + message[place + size :]

    mcast = cpg.encode_mcast(cpg.Mcast(b"g", 1, 1, 0, b"data"))
    for place, value in ((16, 129), (16, 0xFFFFFFFF), (152, 5), (152, 0xFFFFFFFF)):
        with pytest.raises(BadPacket):
            cpg.decode_mcast(altered(mcast, place, value))
    joins = cpg.encode_join_list(cpg.JoinList((cpg.JoinListEntry(1, b"g"),)))
    for place, value in ((8, 23), (8, 167), (8, 0xFFFFFFFF), (32, 129)):
        with pytest.raises(BadPacket):
            cpg.decode_join_list(altered(joins, place, value))
    with pytest.raises(BadPacket, match="count"):
        cpg.decode_down_list(altered(cpg.encode_down_list(cpg.DownList(0, ())), 24, 385))
    with pytest.raises(BadPacket, match="kind"):
        cpg.decode_partial_mcast(cpg.encode_partial_mcast(cpg.PartialMcast(b"g", 1, 4, 1, 1, 0, b"")))
    with pytest.raises(BadPacket, match="reason"):
        cfg.decode_kill_node(altered(cfg.encode_kill_node(cfg.KillNode(1, "")), 24, 257, 2))
    version = cmap.encode_config_version(cmap.CmapReason.SYNC, 1)
    for place, value, size in ((24, 2, 1), (48, 256, 2), (320, 1 << 63, 8), (320, 16385, 8)):
        with pytest.raises(BadPacket):
            cmap.decode_cmap_values(altered(version, place, value, size))


def test_more_bytes_than_the_lengths_say_are_ignored() -> None:
    mcast = cpg.Mcast(b"g", 1, 1, 0, b"data")
    assert cpg.decode_mcast(cpg.encode_mcast(mcast) + b"more") == mcast
    joins = cpg.JoinList((cpg.JoinListEntry(1, b"g"),))
    assert cpg.decode_join_list(cpg.encode_join_list(joins) + b"more") == joins


def test_config_versions() -> None:
    for version in (None, 0, 1, (1 << 64) - 1):
        message = cmap.encode_config_version(cmap.CmapReason.SYNC, version)
        assert cmap.config_version_of(cmap.decode_cmap_values(message)) == (version or 0)
    assert cmap.config_version_of(cmap.CmapValues(0, ())) is None
    with pytest.raises(BadPacket):
        cmap.config_version_of(cmap.CmapValues(0, (cmap.CmapItem(b"totem.config_version", 8, b"short"),)))


def test_kill_reasons_are_cut_and_cleaned() -> None:
    assert cfg.decode_kill_node(cfg.encode_kill_node(cfg.KillNode(1, "x" * 300))).reason == "x" * 255
    assert cfg.decode_kill_node(cfg.encode_kill_node(cfg.KillNode(1, "ü" * 200))).reason == "ü" * 127 + "\ufffd"
    assert cfg.decode_kill_node(cfg.encode_kill_node(cfg.KillNode(1, "a\0b"))).reason == "a"
