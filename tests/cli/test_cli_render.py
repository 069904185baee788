"""Layouts of `totemctl status` and `nodes`, byte for byte as corosync-quorumtool of corosync 3.1 prints them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_daemon import NODES, STATUS, Frame
from totemd.cli import render
from totemd.client.records import CmapValue, Status, decode_nodes, decode_status
from totemd.ids import RingId

DATE = "Sat Feb  3 04:05:06 2024"


def status(**changes: object) -> Status:
    return decode_status({**STATUS, **changes})


def votes(expected: int, highest: int, total: int, quorum: int) -> Frame:
    return {"expected": expected, "highest": highest, "total": total, "quorum": quorum}


def test_quorate() -> None:
    assert render.status_text(status(), DATE) == (
        "Quorum information\n"
        "------------------\n"
        "Date:             Sat Feb  3 04:05:06 2024\n"
        "Quorum provider:  corosync_votequorum\n"
        "Nodes:            3\n"
        "Node ID:          0x00000001\n"
        "Ring ID:          1.9\n"
        "Quorate:          Yes\n"
        "\n"
        "Votequorum information\n"
        "----------------------\n"
        "Expected votes:   3\n"
        "Highest expected: 3\n"
        "Total votes:      3\n"
        "Quorum:           2  \n"
        "Flags:            Quorate \n"
        "\n"
        "Membership information\n"
        "----------------------\n"
        "    Nodeid      Votes Name\n"
        "0x00000001          1 192.0.2.1 (local)\n"
        "0x00000002          1 192.0.2.2\n"
        "0x00000003          1 192.0.2.3\n"
    )


def test_not_quorate() -> None:
    found = status(
        nodeid=0xAB,
        ring={"rep": 0xAB, "seq": 0x1F4, "id": "ab.1f4"},
        quorate=False,
        votes=votes(5, 6, 2, 3),
        flags=[],
        members=[{"nodeid": 0xAB, "name": "far", "address": "2001:db8::1", "votes": 2, "local": True}],
    )
    assert render.status_text(found, DATE) == (
        "Quorum information\n"
        "------------------\n"
        "Date:             Sat Feb  3 04:05:06 2024\n"
        "Quorum provider:  corosync_votequorum\n"
        "Nodes:            1\n"
        "Node ID:          0x000000ab\n"
        "Ring ID:          ab.1f4\n"
        "Quorate:          No\n"
        "\n"
        "Votequorum information\n"
        "----------------------\n"
        "Expected votes:   5\n"
        "Highest expected: 6\n"
        "Total votes:      2\n"
        "Quorum:           3 Activity blocked\n"
        "Flags:            \n"
        "\n"
        "Membership information\n"
        "----------------------\n"
        "    Nodeid      Votes Name\n"
        "0x000000ab          2 2001:db8::1 (local)\n"
    )


def test_two_node_flags() -> None:
    text = render.status_text(status(flags=["2Node", "Quorate", "WaitForAll"], votes=votes(2, 2, 2, 1)), DATE)
    assert "\nQuorum:           1  \nFlags:            2Node Quorate WaitForAll \n" in text


def test_without_provider_there_are_no_votes() -> None:
    text = render.status_text(status(provider=None), DATE)
    assert "Votequorum" not in text
    assert "\nQuorum provider:  Not configured\n" in text
    assert "\nRing ID:          9\n" in text


def test_before_the_first_ring() -> None:
    assert "\nNodes:            0\n" in render.status_text(status(ring=None, members=[]), DATE)


def test_members_are_ascending_and_long_cells_push() -> None:
    members = [
        {"nodeid": 4294967295, "name": "z", "address": "192.0.2.9", "votes": 4294967295, "local": False},
        {"nodeid": 7, "name": "a", "address": "192.0.2.7", "votes": 1, "local": False},
    ]
    assert render.members_text(status(members=members).members) == (
        "\n"
        "Membership information\n"
        "----------------------\n"
        "    Nodeid      Votes Name\n"
        "         7          1 a\n"
        "4294967295 4294967295 z\n"
    )


def test_nodes() -> None:
    assert render.members_text(status().members) == (
        "\n"
        "Membership information\n"
        "----------------------\n"
        "    Nodeid      Votes Name\n"
        "         1          1 n1 (local)\n"
        "         2          1 n2\n"
        "         3          1 n3\n"
    )


def test_node_without_a_name_shows_its_address() -> None:
    members = [{"nodeid": 2, "name": None, "address": "192.0.2.2", "votes": 1, "local": True}]
    assert render.members_text(status(members=members).members).endswith("         2          1 192.0.2.2 (local)\n")


def test_all_nodes() -> None:
    assert render.all_nodes_text(decode_nodes(NODES)).splitlines()[::4] == [
        "    Nodeid      Votes      State Address         Name",
        "         4          1      never 192.0.2.4       n4",
    ]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (CmapValue("a.b", "u32", 7), "a.b (u32) = 7"),
        (CmapValue("a.b", "str", "x y"), "a.b (str) = x y"),
        (CmapValue("a.b", "dbl", 0.5), "a.b (dbl) = 0.500000"),
        (CmapValue("a.b", "bin", b"\x00\xff"), "a.b (bin) = 00ff"),
        (CmapValue("a.b", "str", "x\x1b[2J"), "a.b (str) = x\\x1b[2J"),
    ],
)
def test_cmap_entry(entry: CmapValue, text: str) -> None:
    assert render.cmap_text(entry) == text


def test_escape_keeps_text_and_shows_bytes() -> None:
    assert render.escape("grün \\ ok".encode() + b"\x00\xff\n") == "grün \\\\ ok\\x00\\xff\\x0a"


@given(st.binary(max_size=40))
def test_escape_can_be_undone_and_is_printable(data: bytes) -> None:
    text = render.escape(data)
    assert text.isprintable()
    undone, rest = b"", text
    while rest:
        if rest.startswith("\\\\"):
            undone, rest = undone + b"\\", rest[2:]
        elif rest.startswith("\\x"):
            undone, rest = undone + bytes.fromhex(rest[2:4]), rest[4:]
        else:
            undone, rest = undone + rest[0].encode(), rest[1:]
    assert undone == data


def test_jsonable() -> None:
    assert render.jsonable({"ring": RingId(10, 20), "data": b"\x00x", "list": (1, None)}) == {
        "ring": {"rep": 10, "seq": 20, "id": "a.14"},
        "data": "\\x00x",
        "list": [1, None],
    }
