"""The cpg service: requests and their errors, events, and what synchronization makes of groups."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service_cluster import FakeHost, Recorder, ServiceCluster
from totemd.errors import BadPacket, Code, ServiceError
from totemd.ids import RingId
from totemd.limits import CPG_DATA_MAX
from totemd.services.cpg import (
    Cpg,
    CpgChange,
    CpgDelivered,
    CpgFragment,
    CpgGroup,
    CpgMember,
    CpgMembershipChanged,
    CpgPartialDelivered,
    CpgReason,
    CpgRun,
    EndpointState,
    TotemConfigurationChanged,
)
from totemd.services.cpg import round as cpg_round
from totemd.services.cpg import run as cpg_run
from totemd.wire import cpg as wire

JOIN, LEAVE, NODE_DOWN, NODE_UP, PROC_DOWN = (
    CpgReason.JOIN,
    CpgReason.LEAVE,
    CpgReason.NODE_DOWN,
    CpgReason.NODE_UP,
    CpgReason.PROC_DOWN,
)


class CpgCluster(ServiceCluster[Cpg]):
    """Nodes with the cpg service, in one synchronized ring unless told otherwise."""

    def __init__(self, size: int, *, formed: bool = True) -> None:
        super().__init__(size, Cpg)
        if formed:
            self.form(set(self.nodes))
            self.settle()

    def cpg(self, nodeid: int) -> Cpg:
        return self.nodes[nodeid].service

    def host(self, nodeid: int) -> FakeHost:
        return self.nodes[nodeid].host

    def joined(self, nodeid: int, group: bytes, pid: int) -> Recorder:
        """A client whose join is through and whose events so far are forgotten."""
        client = Recorder()
        self.cpg(nodeid).join(client, group, pid)
        self.settle()
        client.take()
        return client


def changes(client: Recorder) -> list[tuple[list[tuple[int, int]], list[CpgChange], list[CpgChange]]]:
    """The membership changes among the client's events since the last look: members, joined, left."""
    return [
        ([(member.nodeid, member.pid) for member in event.members], list(event.joined), list(event.left))
        for event in client.take()
        if isinstance(event, CpgMembershipChanged)
    ]


@contextmanager
def refused(code: Code) -> Iterator[None]:
    with pytest.raises(ServiceError) as caught:
        yield
    assert caught.value.code is code


def test_a_join_is_done_when_it_is_delivered() -> None:
    cluster = CpgCluster(2)
    first, second = Recorder(), Recorder()
    cluster.cpg(1).join(first, b"g", 10)
    assert cluster.cpg(1).state(first) is EndpointState.JOIN_STARTED
    assert cluster.cpg(1).members(b"g") == ()
    cluster.settle()
    assert cluster.cpg(1).state(first) is EndpointState.JOIN_COMPLETED
    cluster.cpg(2).join(second, b"g", 5)
    cluster.settle()
    assert changes(first) == [
        ([(1, 10)], [CpgChange(1, 10, JOIN)], []),
        ([(1, 10), (2, 5)], [CpgChange(2, 5, JOIN)], []),
    ]
    assert changes(second) == [([(1, 10), (2, 5)], [CpgChange(2, 5, JOIN)], [])]
    for nodeid in (1, 2):
        assert cluster.cpg(nodeid).groups() == (CpgGroup(b"g", (CpgMember(1, 10), CpgMember(2, 5))),)


def test_the_initial_configuration_follows_the_own_join() -> None:
    cluster = CpgCluster(2)
    client = Recorder()
    cluster.cpg(2).join(client, b"g", 1, initial_configuration=True)
    cluster.settle()
    assert [type(event) for event in client.events] == [CpgMembershipChanged, TotemConfigurationChanged]
    assert client.events[1] == TotemConfigurationChanged(RingId(1, 1), (1, 2))


def test_a_leaver_hears_of_its_own_leave_and_may_join_again() -> None:
    cluster = CpgCluster(1)
    client = cluster.joined(1, b"g", 1)
    cpg = cluster.cpg(1)
    cpg.leave(client)
    with refused(Code.NOT_EXIST):
        cpg.leave(client)
    with refused(Code.BUSY):
        cpg.join(client, b"g", 1)
    cluster.settle()
    assert changes(client) == [([], [], [CpgChange(1, 1, LEAVE)])]
    assert cpg.state(client) is EndpointState.UNJOINED
    with refused(Code.NOT_EXIST):
        cpg.leave(client)
    cpg.join(client, b"other", 1)
    cluster.settle()
    assert changes(client) == [([(1, 1)], [CpgChange(1, 1, JOIN)], [])]


def test_requests_that_come_at_the_wrong_time() -> None:
    cluster = CpgCluster(1)
    cpg = cluster.cpg(1)
    client, other = Recorder(), Recorder()
    for action in (cpg.leave, lambda it: cpg.multicast(it, b"x")):
        with refused(Code.NOT_EXIST):
            action(client)
    cpg.join(client, b"g", 1)
    with refused(Code.BUSY):
        cpg.leave(client)
    with refused(Code.EXIST):
        cpg.join(client, b"elsewhere", 2)
    with refused(Code.EXIST):
        cpg.join(other, b"g", 1)
    cluster.settle()
    with refused(Code.EXIST):
        cpg.join(client, b"g", 1)
    cpg.disconnect(client)
    with refused(Code.TRY_AGAIN):
        cpg.join(other, b"g", 1)
    cluster.settle()
    cpg.join(other, b"g", 1)


def test_requests_that_are_never_right() -> None:
    cluster = CpgCluster(1)
    cpg = cluster.cpg(1)
    client = Recorder()
    with refused(Code.NAME_TOO_LONG):
        cpg.join(client, b"x" * 129, 1)
    for pid in (-1, 1 << 32):
        with refused(Code.INVALID_PARAM):
            cpg.join(client, b"g", pid)
    cpg.join(client, b"x" * 128, 0xFFFFFFFF)
    with refused(Code.TOO_BIG):
        cpg.multicast(client, bytes(CPG_DATA_MAX + 1))
    with refused(Code.INVALID_PARAM):
        cpg.partial_multicast(client, b"abc", CpgFragment.FIRST, 2)
    cpg.multicast(client, bytes(CPG_DATA_MAX))


def test_nothing_is_taken_while_synchronizing_or_without_room() -> None:
    cluster = CpgCluster(1)
    cpg, host = cluster.cpg(1), cluster.host(1)
    client, other = cluster.joined(1, b"g", 1), Recorder()
    for attribute, value in (("syncing", True), ("room", 0)):
        before = getattr(host, attribute)
        setattr(host, attribute, value)
        with refused(Code.TRY_AGAIN):
            cpg.join(other, b"g", 2)
        with refused(Code.TRY_AGAIN):
            cpg.multicast(client, b"x")
        with refused(Code.TRY_AGAIN):
            cpg.partial_multicast(client, b"x", CpgFragment.FIRST, 1)
        setattr(host, attribute, before)
    assert cpg.state(other) is EndpointState.UNJOINED
    assert not host.queue


def test_messages_reach_the_group_in_order_and_nobody_else() -> None:
    cluster = CpgCluster(2)
    one, two, stranger = cluster.joined(1, b"g", 1), cluster.joined(2, b"g", 2), cluster.joined(1, b"h", 3)
    one.take()
    for index in range(3):
        cluster.cpg(1).multicast(one, b"one %d" % index)
        cluster.cpg(2).multicast(two, b"two %d" % index, safe=index == 1)
    assert cluster.host(2).safe[-3:] == [False, True, False]
    cluster.settle()
    assert one.events == two.events
    assert {(e.nodeid, e.pid, e.group) for e in one.events if isinstance(e, CpgDelivered)} == {
        (1, 1, b"g"),
        (2, 2, b"g"),
    }
    assert [e.data for e in one.events if isinstance(e, CpgDelivered) and e.nodeid == 2] == [
        b"two 0",
        b"two 1",
        b"two 2",
    ]
    assert stranger.events == []


def test_a_message_from_a_node_outside_the_group_is_dropped() -> None:
    cluster = CpgCluster(2)
    client = cluster.joined(1, b"g", 1)
    message = wire.encode_mcast(wire.Mcast(b"g", 7, 2, 0, b"x"))
    cluster.cpg(1).receive(3, 2, message)
    assert client.events == []
    cluster.cpg(1).receive(3, 1, message)
    assert client.events == [CpgDelivered(b"g", 1, 7, b"x")]


def test_fragments_and_their_interruption() -> None:
    cluster = CpgCluster(2)
    one, two = cluster.joined(1, b"g", 1), cluster.joined(2, b"g", 2)
    one.take()
    cpg = cluster.cpg(1)
    cpg.partial_multicast(one, b"ab", CpgFragment.FIRST, 5)
    cpg.partial_multicast(one, b"cde", CpgFragment.LAST, 5)
    cluster.settle()
    assert two.take() == [
        CpgPartialDelivered(b"g", 1, 1, CpgFragment.FIRST, 5, b"ab"),
        CpgPartialDelivered(b"g", 1, 1, CpgFragment.LAST, 5, b"cde"),
    ]
    cpg.partial_multicast(one, b"ab", CpgFragment.FIRST, 5)
    cluster.cpg(2).leave(two)
    cluster.settle()
    with refused(Code.INTERRUPT):
        cpg.partial_multicast(one, b"cde", CpgFragment.CONTINUED, 5)
    cpg.partial_multicast(one, b"ab", CpgFragment.FIRST, 5)
    cpg.partial_multicast(one, b"cde", CpgFragment.LAST, 5)


def test_a_crash_is_a_procdown() -> None:
    cluster = CpgCluster(2)
    one, two = cluster.joined(1, b"g", 1), cluster.joined(2, b"g", 2)
    one.take()
    cluster.cpg(2).disconnect(two)
    cluster.settle()
    assert changes(one) == [([(1, 1)], [], [CpgChange(2, 2, PROC_DOWN)])]
    assert two.events == []


@pytest.mark.parametrize("crash", [False, True])
def test_a_leave_without_room_is_sent_later(crash: bool) -> None:
    cluster = CpgCluster(2)
    one, two = cluster.joined(1, b"g", 1), cluster.joined(2, b"g", 2)
    one.take()
    host = cluster.host(2)
    host.room = 0
    (cluster.cpg(2).disconnect if crash else cluster.cpg(2).leave)(two)
    assert not host.queue
    assert not cluster.cpg(2).retry_pending()
    host.room = 1
    assert cluster.cpg(2).retry_pending()
    assert cluster.cpg(2).retry_pending()
    cluster.settle()
    assert changes(one) == [([(1, 1)], [], [CpgChange(2, 2, PROC_DOWN if crash else LEAVE)])]


def test_a_client_that_dies_while_its_join_is_under_way() -> None:
    cluster = CpgCluster(2)
    one, two = cluster.joined(1, b"g", 1), Recorder()
    cluster.cpg(2).join(two, b"g", 2)
    cluster.cpg(2).disconnect(two)
    cluster.settle()
    assert changes(one) == [
        ([(1, 1), (2, 2)], [CpgChange(2, 2, JOIN)], []),
        ([(1, 1)], [], [CpgChange(2, 2, PROC_DOWN)]),
    ]
    assert two.events == []


def test_a_partition_takes_nodes_down_and_its_end_brings_them_up() -> None:
    cluster = CpgCluster(3)
    clients = {nodeid: cluster.joined(nodeid, b"g", nodeid * 10) for nodeid in (1, 2, 3)}
    other = cluster.joined(3, b"a", 1)
    for client in clients.values():
        client.take()
    cluster.form({1, 2}, {3})
    cluster.settle()
    down = CpgChange(3, 30, NODE_DOWN)
    assert clients[1].events == [
        CpgMembershipChanged(b"g", (CpgMember(1, 10), CpgMember(2, 20)), (), (down,)),
        TotemConfigurationChanged(RingId(1, 2), (1, 2)),
    ]
    assert changes(clients[3]) == [([(3, 30)], [], [CpgChange(1, 10, NODE_DOWN), CpgChange(2, 20, NODE_DOWN)])]
    assert other.take() == [TotemConfigurationChanged(RingId(3, 3), (3,))]
    clients[1].take()
    clients[2].take()
    cluster.form({1, 2, 3})
    cluster.settle()
    everybody = [(1, 10), (2, 20), (3, 30)]
    assert changes(clients[1]) == changes(clients[2]) == [(everybody, [CpgChange(3, 30, NODE_UP)], [])]
    assert changes(clients[3]) == [(everybody, [CpgChange(1, 10, NODE_UP), CpgChange(2, 20, NODE_UP)], [])]


def test_a_restarted_node_goes_down_then_up() -> None:
    cluster = CpgCluster(2)
    one = cluster.joined(1, b"g", 1)
    cluster.joined(2, b"g", 2)
    cluster.restart(2)
    cluster.form({2})
    cluster.settle()
    cluster.joined(2, b"g", 2)
    one.take()
    cluster.form({1, 2})
    cluster.settle()
    assert changes(one) == [
        ([(1, 1)], [], [CpgChange(2, 2, NODE_DOWN)]),
        ([(1, 1), (2, 2)], [CpgChange(2, 2, NODE_UP)], []),
    ]


def test_a_node_that_was_away_during_aborted_rounds_counts_as_lost() -> None:
    cluster = CpgCluster(2)
    one = cluster.joined(1, b"g", 1)
    cluster.joined(2, b"g", 2)
    one.take()
    cluster.form({1}, {2})
    cluster.form({1, 2})  # aborts
    cluster.form({1, 2})
    cluster.settle()
    assert changes(one) == [
        ([(1, 1)], [], [CpgChange(2, 2, NODE_DOWN)]),
        ([(1, 1), (2, 2)], [CpgChange(2, 2, NODE_UP)], []),
    ]


def test_a_client_that_dies_during_synchronization_is_not_announced() -> None:
    cluster = CpgCluster(3)
    one, two = cluster.joined(1, b"g", 1), cluster.joined(2, b"g", 2)
    staying = cluster.joined(2, b"g", 22)
    for client in (one, staying):
        client.take()
    cluster.form({1, 2}, {3})
    cluster.cpg(2).disconnect(two)
    cluster.settle()
    assert changes(one) == [([(1, 1), (2, 22)], [], [CpgChange(2, 2, PROC_DOWN)])]
    assert changes(staying) == [([(1, 1), (2, 22)], [], [CpgChange(2, 2, PROC_DOWN)])]
    assert not cluster.host(2).queue
    assert cluster.cpg(1).groups() == cluster.cpg(2).groups()
    cluster.joined(2, b"g", 2)


def test_a_client_that_dies_after_it_was_announced_leaves_after_synchronization() -> None:
    cluster = CpgCluster(2)
    one, two = cluster.joined(1, b"g", 1), cluster.joined(2, b"g", 2)
    one.take()
    cluster.form({1, 2})
    for _ in range(4):
        cluster.turn(2)
    cluster.cpg(2).disconnect(two)
    cluster.settle()
    assert [type(event) for event in one.events] == [TotemConfigurationChanged, CpgMembershipChanged]
    assert changes(one) == [([(1, 1)], [], [CpgChange(2, 2, PROC_DOWN)])]


def test_join_lists_of_an_aborted_round_do_not_leak() -> None:
    cluster = CpgCluster(3)
    one = cluster.joined(1, b"g", 1)
    cluster.joined(3, b"g", 3)
    cluster.form({1, 2}, {3})
    cluster.settle()
    cluster.form({1, 2, 3})
    for nodeid in (3, 3, 3, 3, 1):  # node 3 has announced its process, then dies
        cluster.turn(nodeid)
    cluster.form({1, 2})
    cluster.settle()
    one.take()
    assert cluster.cpg(1).members(b"g") == (CpgMember(1, 1),)
    assert cluster.cpg(2).members(b"g") == (CpgMember(1, 1),)


def test_nothing_is_sent_twice_when_the_queue_fills_up() -> None:
    cluster = CpgCluster(1)
    cluster.joined(1, b"g", 1)
    host, cpg = cluster.host(1), cluster.cpg(1)
    cluster.form({1})
    host.room = 0
    assert not cpg.sync_process()
    host.room = 1
    assert not cpg.sync_process()
    host.room = 2
    assert cpg.sync_process()
    assert cpg.sync_process()
    down, joins = host.sync_queue
    assert wire.decode_down_list(down) == wire.DownList(1, ())
    assert wire.decode_join_list(joins) == wire.JoinList((wire.JoinListEntry(1, b"g"),))


def test_a_long_join_list_goes_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpg_round, "CPG_JOIN_LIST_ENTRIES_MAX", 2)
    cluster = CpgCluster(2)
    clients = [cluster.joined(1, b"g", pid) for pid in range(5)]
    cluster.form({1}, {2})
    cluster.settle()
    cluster.form({1, 2})
    host = cluster.host(1)
    host.room = 3
    assert not cluster.cpg(1).sync_process()
    cluster.cpg(1).disconnect(clients[4])  # between two pieces
    host.room = 10
    assert cluster.cpg(1).sync_process()
    lists = [wire.decode_join_list(message) for message in host.sync_queue[1:]]
    assert [[entry.pid for entry in joins.entries] for joins in lists] == [[0, 1], [2, 3]]
    cluster.settle()
    assert [member.pid for member in cluster.cpg(2).members(b"g")] == [0, 1, 2, 3]
    assert cluster.cpg(1).groups() == cluster.cpg(2).groups()


def test_an_unjoined_client_hears_of_rings_once_connected() -> None:
    cluster = CpgCluster(1)
    client = Recorder()
    cluster.cpg(1).connect(client)
    cluster.form({1})
    cluster.settle()
    assert client.take() == [TotemConfigurationChanged(RingId(1, 2), (1,))]
    cluster.cpg(1).disconnect(client)
    cluster.form({1})
    cluster.settle()
    assert client.events == []


def test_a_peer_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("totemd.services.cpg.processes.CPG_PROCESSES_PER_NODE_MAX", 3)
    monkeypatch.setattr("totemd.services.cpg.processes.CPG_PROCESSES_MAX", 5)
    monkeypatch.setattr(cpg_round, "CPG_PROCESSES_PER_NODE_MAX", 3)
    cluster = CpgCluster(3)
    cpg = cluster.cpg(1)
    client = cluster.joined(1, b"g", 1)

    def join(nodeid: int, pid: int) -> None:
        cpg.receive(0, nodeid, wire.encode_proc_join(wire.ProcChange(b"g", pid, 1)))

    for pid in (1, 2, 3):
        join(2, pid)
    with pytest.raises(BadPacket, match="too many processes: node 2"):
        join(2, 4)
    join(2, 3)  # known, so no harm
    join(3, 1)
    with pytest.raises(BadPacket, match="in the cluster"):
        join(3, 2)
    late = Recorder()
    cpg.join(late, b"g", 9)
    with pytest.raises(BadPacket, match="in the cluster"):
        join(1, 9)
    assert cpg.state(late) is EndpointState.UNJOINED
    assert changes(late)[0][2] == [CpgChange(1, 9, PROC_DOWN)]
    assert len(cpg.members(b"g")) == 5
    assert len(changes(client)) == 4

    cluster.form({1, 2, 3})
    many = wire.JoinList(tuple(wire.JoinListEntry(pid, b"g") for pid in range(4)))
    with pytest.raises(BadPacket, match="too many processes: node 2"):
        cpg.receive(2, 2, wire.encode_join_list(many))


def test_messages_that_are_not_valid_or_not_wanted() -> None:
    cluster = CpgCluster(1)
    cpg = cluster.cpg(1)
    with pytest.raises(BadPacket, match="unknown function"):
        cpg.receive(7, 1, bytes(16))
    with pytest.raises(BadPacket, match="truncated"):
        cpg.receive(3, 1, bytes(100))
    cpg.receive(4, 1, bytes(1560))
    cpg.receive(1, 1, wire.encode_proc_leave(wire.ProcChange(b"unknown", 1, 77)))
    cpg.receive(2, 1, wire.encode_join_list(wire.JoinList((wire.JoinListEntry(1, b"g"),))))  # outside a round
    cluster.form({1})
    cluster.settle()
    assert cpg.groups() == ()


def test_a_leave_for_no_known_reason() -> None:
    cluster = CpgCluster(2)
    one = cluster.joined(1, b"g", 1)
    cluster.joined(2, b"g", 2)
    one.take()
    cluster.cpg(1).receive(1, 2, wire.encode_proc_leave(wire.ProcChange(b"g", 2, 77)))
    assert changes(one) == [([(1, 1)], [], [CpgChange(2, 2, CpgReason.UNDEFINED)])]


class RunRecorder(Recorder):
    """A listener that takes runs, and keeps their events."""

    def push_run(self, run: CpgRun) -> None:
        assert run.heads
        self.events += run.events()


def _mcast(sender: int, group: bytes, pid: int, data: bytes, spoilt: int) -> bytes:
    message = wire.encode_mcast(wire.Mcast(group, pid, sender, 0, data))
    if spoilt == 1:
        return message[:-1]
    if spoilt == 2:
        return message + b"more"
    if spoilt == 3:
        return message[:16] + b"\xff" + message[17:]
    return wire.encode_proc_leave(wire.ProcChange(group, pid, 2)) if spoilt == 4 else message


together = st.lists(
    st.tuples(
        st.sampled_from((b"g", b"h", b"unheard")),
        st.sampled_from((7, 8)),
        st.sampled_from((b"", b"data", b"other data")),
        st.sampled_from((0, 0, 0, 0, 0, 1, 2, 3, 4)),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60)
@given(packets=st.lists(st.tuples(st.integers(1, 3), together), max_size=8))
def test_messages_together_are_delivered_as_one_by_one(
    packets: list[tuple[int, list[tuple[bytes, int, bytes, int]]]],
) -> None:
    clients: list[list[Recorder]] = []
    for many in (False, True):
        cluster = CpgCluster(3)
        cluster.joined(1, b"g", 7)
        cluster.joined(2, b"h", 7)
        cpg = cluster.cpg(1)
        clients.append([Recorder(), RunRecorder(), RunRecorder()])
        for index, (client, group) in enumerate(zip(clients[-1], (b"g", b"g", b"h"), strict=True)):
            cpg.join(client, group, 20 + index)
        cluster.settle()
        for sender, messages in packets:
            bodies = [_mcast(sender, *message) for message in messages]
            if many and cpg.receive_mcasts(sender, bodies):
                assert not any(spoilt for *_, spoilt in messages)
                continue
            for body in bodies:
                with suppress(BadPacket):
                    cpg.receive(int.from_bytes(body[:2], "little"), sender, body)
    for one_by_one, run in zip(*clients, strict=True):
        assert run.events == one_by_one.events


def test_heads_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpg_run, "HEADS_MAX", 10)
    heads = cpg_run.McastHeads()
    for size in range(100):
        found = heads.read(1, [_mcast(1, b"g", 7, bytes(size), 0)])
        assert found is not None
        assert found[0].size == size
        assert len(heads._heads) <= 10


def test_a_head_is_of_its_sender() -> None:
    """Two nodes may send the same bytes; what a front remembers with a head names the sender."""
    heads = cpg_run.McastHeads()
    message = _mcast(1, b"g", 7, b"data", 0)
    first, second, again = (heads.read(sender, [message]) or [] for sender in (1, 2, 1))
    assert first[0] is again[0]
    assert first[0] is not second[0]
