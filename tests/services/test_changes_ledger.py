"""What a node finds on its disk after a crash is a state that it can go on from."""

from dataclasses import replace

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from totemd.cluster.change import Change, HistoryEntry, entry_of
from totemd.services.changes.ledger import Accepted, History, Ledger, load

CHANGES = st.builds(
    lambda version, other: Change(bytes([version, other]) * 8, "edit", version - 1, version, f"text {version} {other}"),
    st.integers(1, 6),
    st.integers(0, 1),
)


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    """Any that a node may have."""
    current = draw(CHANGES)
    previous = draw(st.none() | CHANGES.filter(lambda change: change.version < current.version))
    reverted = previous is not None and draw(st.booleans())
    confirmed = not reverted and draw(st.booleans())
    accepted = draw(st.none() | st.just(Accepted(4, 1, (1, 2), False, None)))
    return Ledger(current, previous, confirmed, reverted, current.version, accepted)


def files(ledger: Ledger) -> dict[str, bytes]:
    """In the order in which they are written."""
    return {"committed": ledger.active.encode(), "state": ledger.encode()}


@given(ledgers(), ledgers(), st.integers(0, 2))
def test_after_a_crash_what_is_active_is_what_the_daemon_starts(before: Ledger, after: Ledger, written: int) -> None:
    stored = {**files(before), **dict(list(files(after).items())[:written])}
    found = load(stored)
    assert found is not None
    assert found.active.ident == Change.decode(stored["committed"]).ident
    assert found == before or written, "without a crash between two files nothing is altered"
    assert found == after or written < 2
    assert Ledger.decode(found.encode()) == found
    assert load(files(found)) == found


def test_an_entry_of_the_history_has_the_reason_that_is_no_nodes_and_reads_one_without() -> None:
    entry = entry_of(Change(bytes(16), "edit", 1, 2, "text"), "aborted", {})
    late = replace(entry, why="not prepared within 10 s: node 3")
    assert HistoryEntry.decode(late.encode()) == late
    assert HistoryEntry.decode(entry.encode()) == entry
    assert len(msgpack.unpackb(entry.encode())) == 11, "as it was before there was such a reason"


def test_of_what_others_remember_no_texts_are_kept() -> None:
    history = History()
    history.learn([entry_of(Change(bytes([n]) * 16, "edit", n, n + 1, "text"), "rejected", {3: "no"}) for n in (2, 1)])
    assert [(entry.version, entry.text, entry.reasons) for entry in history.entries] == [(2, None, {}), (3, None, {})]


def test_who_crashed_when_it_learned_that_what_it_had_gone_back_from_holds_has_it_in_force() -> None:
    old, new = (Change(bytes([version]) * 16, "edit", version - 1, version, f"text {version}") for version in (4, 5))
    reverted = Ledger(new, old, confirmed=False, reverted=True, highest=5)
    found = load({"committed": new.encode(), "state": reverted.encode()})
    assert found == Ledger(new, old, confirmed=False, reverted=False, highest=5)
