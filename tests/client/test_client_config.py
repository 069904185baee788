"""The replicated configuration through both clients: the same requests, the same records."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from fake_daemon import FakeDaemon, Frame
from totemd.client import blocking, open_client
from totemd.client.config_records import ChangeOutcome, ChangeProgress, ConfigurationVersion, HistoryEntry, NodeReason
from totemd.client.errors import ProtocolError

REASON = {"nodeid": 2, "name": "n2", "reason": "no"}
SHOWN: Frame = {
    "version": 7,
    "committed_version": 8,
    "confirmed": False,
    "digest": "ab",
    "kind": "edit",
    "who": "w",
    "when": 5,
    "what": "x",
    "text": "t",
    "file": "f",
    "edited": True,
    "problem": "p",
    "pending": {
        "version": 9,
        "kind": "edit",
        "who": "w",
        "what": "x",
        "withdrawn": True,
        "prepared": [1],
        "waiting": [3],
        "refused": [REASON],
    },
    "of a later daemon": 1,
}
OUTCOME: Frame = {
    "accepted": False,
    "version": 0,
    "reasons": [REASON],
    "why": "y",
    "undecided": False,
    "quorate": True,
    "after_restart": ["totem.netmtu"],
}
ENTRY: Frame = {
    "version": 7,
    "base_version": 6,
    "kind": "edit",
    "who": "w",
    "when": 5,
    "what": "x",
    "outcome": "rejected",
    "reasons": [REASON],
    "has_text": True,
}
NO = NodeReason(2, "n2", "no")
VERSION = ConfigurationVersion(
    7, "edit", "w", 5, "x", "t", "ab", 8, False, "f", True, "p",
    ChangeProgress(9, "edit", "w", "x", True, (1,), (3,), (NO,)),
)  # fmt: skip
REFUSED = ChangeOutcome(False, 0, (NO,), "y", False, True, ("totem.netmtu",))

Call = Callable[[Any], Any]
CALLS: list[tuple[Call, str, Frame, Frame, object]] = [
    (lambda c: c.config_show(), "config_show", {"version": None}, SHOWN, VERSION),
    (lambda c: c.config_show(3), "config_show", {"version": 3}, SHOWN, VERSION),
    (
        lambda c: c.config_history(),
        "config_history",
        {},
        {"entries": [ENTRY]},
        (HistoryEntry(7, 6, "edit", "w", 5, "x", "rejected", (NO,), True),),
    ),
    (lambda c: c.config_validate("t"), "config_validate", {"text": "t"}, OUTCOME, REFUSED),
    (
        lambda c: c.config_propose("t", base_version=7, what="x", rollback_after_s=4),
        "config_propose",
        {"text": "t", "base_version": 7, "what": "x", "rollback_after_s": 4},
        OUTCOME,
        REFUSED,
    ),
    (lambda c: c.config_rollback(6), "config_rollback", {"version": 6}, OUTCOME, REFUSED),
    (lambda c: c.config_rotate_key(), "config_rotate_key", {}, OUTCOME, REFUSED),
]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as daemon:
        yield daemon


@pytest.mark.parametrize(("call", "name", "asked", "answer", "record"), CALLS)
def test_both_clients_ask_and_read_alike(
    daemon: FakeDaemon, call: Call, name: str, asked: Frame, answer: Frame, record: object
) -> None:
    daemon.on(name, answer)
    with blocking.connect(daemon.path) as client:
        assert call(client) == record

    async def with_trio() -> object:
        async with open_client(daemon.path) as client:
            return await call(client)

    assert trio.run(with_trio) == record
    assert daemon.seen == [(name, asked)] * 2


def test_a_refusal_in_a_line() -> None:
    assert REFUSED.explained() == "y; n2: no"
    assert ChangeOutcome(False, 0, (NodeReason(4, "", "r"),), "", False, True).explained() == "node 4: r"
    assert ChangeOutcome(False, 0, (), "", False, True).explained() == "it was refused"


@pytest.mark.parametrize("key", ["version", "confirmed", "edited", "when"])
def test_an_answer_of_another_shape(daemon: FakeDaemon, key: str) -> None:
    daemon.on("config_show", {**SHOWN, key: "wrong"})
    with blocking.connect(daemon.path) as client, pytest.raises(ProtocolError, match=key):
        client.config_show()
