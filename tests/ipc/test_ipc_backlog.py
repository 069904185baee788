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
        accounts = [Account(together, number % 2, partial(cut.__setitem__, number)) for number in range(6)]
        for number, change in steps:
            account, known = accounts[number], set(cut)
            if change > 0:
                account.add(change)
            else:
                account.remove(min(-change, account.queued_bytes))
            users = [
                sum(one.queued_bytes for n, one in enumerate(accounts) if n not in cut and n % 2 == u) for u in (0, 1)
            ]
            before = set(cut)
            together.enforce()
            if cut.keys() - before and abs(users[0] - users[1]) > ONE:
                assert {victim % 2 for victim in cut.keys() - before} == {int(users[1] > users[0])}
            open_ = [other.queued_bytes for index, other in enumerate(accounts) if index not in cut]
            assert together.total_bytes == sum(open_) <= ALL
            assert max(open_, default=0) <= ONE
            for victim in set(cut) - known:
                rest = [one.queued_bytes for n, one in enumerate(accounts) if n not in cut and n % 2 == victim % 2]
                assert accounts[victim].queued_bytes >= max(rest, default=0)
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
        world.services.backlog.enforce()
        assert world.services.backlog.total_bytes <= 500_000
    ended = [client.session.closing for client in others if client.session.closing is not None]
    assert ended
    assert all("the most of" in reason for reason in ended)
    assert reader.session.closing is None
    for client in others:
        client.session.closed()
    reader.take()
    assert world.services.backlog.total_bytes == 0


def test_who_reads_is_not_cut_off_for_one_large_message_to_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CLIENTS_BACKLOG_BYTES_MAX", 500_000)
    together = Backlog()
    cut: list[str] = []
    accounts = [Account(together, 0, cut.append) for _ in range(200)]
    for account in accounts:
        account.add(100_000)
    for account in accounts:
        account.remove(100_000)
    together.enforce()
    assert not cut


def test_the_user_for_whom_most_waits_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CLIENTS_BACKLOG_BYTES_MAX", 500_000)
    together = Backlog()
    cut: list[int] = []
    for uid, size_bytes in ((1, 200_000), *((2, 10_000),) * 40):
        Account(together, uid, lambda _, uid=uid: cut.append(uid)).add(size_bytes)  # type: ignore[misc] # mypy and defaults
    together.enforce()
    assert set(cut) == {2}
