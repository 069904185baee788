"""What waits for all clients together is bounded, and who has the most is cut off first."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc_world import World
from totemd.ipc import backlog
from totemd.ipc.backlog import Account, Backlog
from totemd.limits import CMAP_VALUE_MAX

ONE, ALL = 1000, 2500

steps = st.lists(st.tuples(st.integers(0, 5), st.integers(-700, 700)), max_size=60)


@given(steps=steps)
def test_the_one_with_the_most_is_cut_off(steps: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "CLIENT_BACKLOG_BYTES_MAX", ONE)
        patch.setattr(backlog, "CLIENTS_BACKLOG_BYTES_MAX", ALL)
        together = Backlog()
        cut: dict[int, str] = {}
        accounts = [Account(together, partial(cut.__setitem__, number)) for number in range(6)]
        for number, change in steps:
            account, known = accounts[number], set(cut)
            if change > 0:
                account.add(change)
            else:
                account.remove(min(-change, account.queued_bytes))
            open_ = [other.queued_bytes for index, other in enumerate(accounts) if index not in cut]
            assert together.total_bytes == sum(open_) <= ALL
            assert max(open_, default=0) <= ONE
            for victim in set(cut) - known:
                assert accounts[victim].queued_bytes >= max(open_, default=0)
        for account in accounts:
            account.close()
            account.close()
        assert together.total_bytes == 0
        assert not together._waiting


def test_many_clients_that_do_not_read_are_cut_off_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CLIENTS_BACKLOG_BYTES_MAX", 500_000)
    world = World()
    world.form(1)
    reader, *others = [world.client() for _ in range(5)]
    reader.ok("cmap_set", key="big", value="x" * (CMAP_VALUE_MAX - 1))
    for _ in range(30):
        for client in others:
            if client.session.closing is None:
                client.ask("cmap_get", key="big")
        reader.reply("ping")
        assert world.services.backlog.total_bytes <= 500_000
    ended = [client.session.closing for client in others if client.session.closing is not None]
    assert ended
    assert all("the most of" in reason for reason in ended)
    assert reader.session.closing is None
    for client in others:
        client.session.closed()
    reader.take()
    assert world.services.backlog.total_bytes == 0
