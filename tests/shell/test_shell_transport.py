"""The ring's datagrams over real sockets on this machine's loopback."""

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from small_configuration import small_configuration
from totemd.config import Configuration
from totemd.errors import MachineError
from totemd.ids import RingId
from totemd.node.arrival import Datagram
from totemd.shell import transport as transport_module
from totemd.shell.addresses import address_is_up
from totemd.shell.transport import BATCH_MAX, Transport
from totemd.wire.packets import OrfToken, PacketType, encode_orf_token
from totemd_lab.ring import free_udp_port

WAIT_S = 5.0
ADDRESSES = tuple(f"127.{1 + os.getpid() % 200}.7.{number}" for number in (1, 2, 3))
GROUP = "239.255.79.9"
Refused = list[tuple[str, str]]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def has_all(seq: int) -> bool:
    return True


def lacks_some(seq: int) -> bool:
    return False


class Ends:
    """The transports of some nodes, and what the machine refused to send for them."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self.refused: Refused = []
        self._epolls: dict[Transport, select.epoll] = {}

    def open(self, configuration: Configuration) -> Transport:
        with ExitStack() as opened:
            epoll = opened.enter_context(closing(select.epoll()))
            transport = Transport(configuration, lambda address, reason: self.refused.append((address, reason)), epoll)
            opened.enter_context(closing(transport))
            self._opened.push(opened.pop_all())
        self._epolls[transport] = epoll
        return transport

    def wait(self, transport: Transport) -> bool:
        """Wait until a datagram is there; False: none came."""
        return bool(self._epolls[transport].poll(WAIT_S))

    def receive(
        self, transport: Transport, count: int, has_all_up_to: Callable[[int], bool] = lacks_some
    ) -> list[Datagram]:
        """Wait for `count` datagrams."""
        found: list[Datagram] = []
        while len(found) < count:
            assert self.wait(transport), f"{len(found)} of {count} datagrams came"
            found += transport.receive(has_all_up_to)[0]
        return found


@pytest.fixture
def ends() -> Iterator[Ends]:
    with ExitStack() as opened:
        yield Ends(opened)


@pytest.fixture
def port() -> int:
    return free_udp_port()


def configurations(port: int, transport: str, interface: str = "") -> list[Configuration]:
    lines = f"mcastport: {port}\n{interface}" + (f"\nmcastaddr: {GROUP}" if transport == "udp" else "")
    return [
        small_configuration(*ADDRESSES, local=address, transport=transport, interface=lines) for address in ADDRESSES
    ]


def silent(transport: Transport) -> bool:
    return transport.receive(lacks_some) == ([], True)


@pytest.mark.parametrize("kind", ["udp", "udpu"])
def test_multicast_reaches_all_others_and_unicast_one(ends: Ends, port: int, kind: str) -> None:
    first, second, third = (ends.open(configuration) for configuration in configurations(port, kind))
    first.broadcast(b"to all")
    for other in (second, third):
        assert ends.receive(other, 1) == [(b"to all", ADDRESSES[0])]
    second.unicast(3, b"to one")
    assert ends.receive(third, 1) == [(b"to one", ADDRESSES[1])]
    second.unicast(9, b"to nobody")
    assert silent(second)
    assert ends.refused == []


def test_multicasts_leave_from_one_below_the_port(ends: Ends, port: int) -> None:
    """As corosync's do, whose firewalls expect it (corosync.conf(5), mcastport)."""
    transport = ends.open(configurations(port, "udp")[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.settimeout(WAIT_S)
        listener.bind((ADDRESSES[1], port))
        transport.unicast(2, b"x")
        assert listener.recvfrom(10) == (b"x", (ADDRESSES[0], port - 1))


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_ipv6(ends: Ends, port: int) -> None:
    configuration = small_configuration("::1", transport="udpu", interface=f"mcastport: {port}")
    transport = ends.open(configuration)
    transport.unicast(1, b"six")
    assert ends.receive(transport, 1) == [(b"six", "::1")]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_ipv6_multicast_opens_and_sends(ends: Ends, port: int) -> None:
    configuration = small_configuration(
        "::1", transport="udp", totem="ip_version: ipv6", interface=f"mcastport: {port}"
    )
    transport = ends.open(configuration)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex("lo"))
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        sender.bind(("::1", 0))
        try:
            sender.sendto(b"six", (configuration.transport.mcast_address, port))
        except OSError as error:
            pytest.skip(f"lo has no route for IPv6 multicast here: {error.strerror}")
    assert ends.receive(transport, 1) == [(b"six", "::1")]


def test_a_flood_is_read_in_bounded_batches(ends: Ends, port: int) -> None:
    first, second, _ = (ends.open(configuration) for configuration in configurations(port, "udpu"))
    count = 2 * BATCH_MAX + 10
    for number in range(count):
        first.unicast(2, number.to_bytes(4, "big"))
    batch, exhausted = second.receive(lacks_some)
    assert (len(batch), exhausted) == (BATCH_MAX, False)
    rest = ends.receive(second, count - BATCH_MAX)
    assert [int.from_bytes(data, "big") for data, _ in batch + rest] == list(range(count))
    assert silent(second)


TOKEN = encode_orf_token(OrfToken(1, 0, 7, 3, 7, 0, RingId(1, 8), 0, 0, 0, ()))


def test_token_waits_for_messages_that_may_be_missing(ends: Ends, port: int) -> None:
    first, second, _ = (ends.open(configuration) for configuration in configurations(port, "udp"))
    first.broadcast(b"message")
    first.unicast(2, TOKEN)
    ends.wait(second)
    datagrams, exhausted = second.receive(lacks_some)
    assert sorted(data for data, _ in datagrams) == [b"message", TOKEN]
    assert exhausted


def test_token_that_counts_nothing_new_goes_first(ends: Ends, port: int) -> None:
    first, second, _ = (ends.open(configuration) for configuration in configurations(port, "udp"))
    first.broadcast(b"message")
    first.unicast(2, TOKEN)
    ends.wait(second)
    assert second.receive(has_all) == ([(TOKEN, ADDRESSES[0])], False)
    assert second.receive(has_all) == ([(b"message", ADDRESSES[0])], True)


def test_flood_of_tokens_does_not_keep_messages_out(ends: Ends, port: int) -> None:
    first, second, _ = (ends.open(configuration) for configuration in configurations(port, "udp"))
    for _ in range(100):
        first.unicast(2, TOKEN)
    first.broadcast(b"message")
    found = ends.receive(second, 1, has_all) + ends.receive(second, 1, has_all)
    assert (b"message", ADDRESSES[0]) in found


@pytest.mark.parametrize("kind", ["udp", "udpu"])
def test_port_belongs_to_one_daemon(ends: Ends, port: int, kind: str) -> None:
    """Two on one port would take each other's tokens."""
    configuration = configurations(port, kind)[0]
    ends.open(configuration)
    with pytest.raises(MachineError, match=f"{ADDRESSES[0]} port {port} .*already in use.*another daemon"):
        ends.open(configuration)


def test_address_of_another_machine(ends: Ends, port: int) -> None:
    configuration = small_configuration("198.51.100.1", transport="udpu", interface=f"mcastport: {port}")
    with pytest.raises(MachineError, match=r"198\.51\.100\.1 .*is the address up"):
        ends.open(configuration)
    assert not address_is_up(configuration.transport)
    assert address_is_up(configurations(port, "udpu")[0].transport)
    assert address_is_up(small_configuration("127.0.0.1").transport)


def test_address_is_not_given_up_when_the_kernel_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    settings = small_configuration("198.51.100.1").transport
    monkeypatch.setattr(socket, "socket", exhausted)
    assert address_is_up(settings)


def test_failed_start_leaves_no_descriptor(ends: Ends, port: int) -> None:
    configuration = configurations(port, "udp")[0]
    ends.open(configuration)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(MachineError):
            ends.open(configuration)
    assert len(os.listdir("/proc/self/fd")) == before


def test_datagram_that_the_machine_refuses_is_counted_and_told(ends: Ends, port: int) -> None:
    transport = ends.open(configurations(port, "udpu")[0])
    transport.unicast(2, bytes(70_000))
    assert transport.send_errors == {"Message too long": 1}
    assert transport.statistics() == {"send_errors": {"Message too long": 1}, "receive_errors": {}}
    assert ends.refused == [(ADDRESSES[1], "Message too long")]
    # Nobody listens there; UDP does not mind, and neither do we.
    transport.unicast(2, b"x")
    assert silent(transport)


@pytest.mark.parametrize("kind", ["udp", "udpu"])
def test_reopened_transport_goes_on(ends: Ends, port: int, kind: str) -> None:
    first, second, _ = (ends.open(configuration) for configuration in configurations(port, kind))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        second.reopen()
    assert len(os.listdir("/proc/self/fd")) == before
    first.broadcast(b"to all")
    first.unicast(2, b"to one")
    assert {data for data, _ in ends.receive(second, 2)} == {b"to all", b"to one"}


def test_transport_that_cannot_be_reopened_is_deaf_until_it_can(ends: Ends, port: int) -> None:
    first, second, _ = (ends.open(configuration) for configuration in configurations(port, "udpu"))
    here = configurations(port, "udpu")[1]
    away = replace(here, transport=replace(here.transport, local_address="198.51.100.1"))
    second.configure(away)
    with pytest.raises(MachineError):
        second.reopen()
    first.unicast(2, b"lost")
    second.unicast(1, b"lost too")
    assert second.receive(lacks_some)[0] == []
    assert len(ends.refused) == 1
    second.configure(here)
    second.reopen()
    first.unicast(2, b"found")
    assert ends.receive(second, 1) == [(b"found", ADDRESSES[0])]


def test_new_nodelist_is_sent_to(ends: Ends, port: int) -> None:
    old, other, _ = configurations(port, "udpu")
    first, second = ends.open(old), ends.open(other)
    first.configure(replace(old, nodes=old.nodes[:1]))
    first.broadcast(b"to none")
    first.configure(old)
    first.broadcast(b"to all")
    assert ends.receive(second, 1) == [(b"to all", ADDRESSES[0])]


def packets(count: int) -> list[bytes]:
    """Of a visit of the token: full ones, and one that is not."""
    head = bytes((0, 0, 0, PacketType.MCAST))
    return [head + number.to_bytes(4, "big") + bytes(1464) for number in range(count)] + [head + b"last"]


@pytest.mark.parametrize("kind", ["udp", "udpu"])
def test_multicasts_of_one_visit_arrive_as_they_were(ends: Ends, port: int, kind: str) -> None:
    first, second, third = (ends.open(configuration) for configuration in configurations(port, kind))
    sent = packets(100)
    for data in sent:
        first.broadcast(data, more=True)
    first.flush()
    for other in (second, third):
        assert ends.receive(other, len(sent)) == [(data, ADDRESSES[0]) for data in sent]
    assert first.send_errors == {}


def test_multicasts_leave_before_the_token(ends: Ends, port: int) -> None:
    first, second, _ = (ends.open(configuration) for configuration in configurations(port, "udpu"))
    first.broadcast(b"waits", more=True)
    first.unicast(2, b"token")
    assert [data for data, _ in ends.receive(second, 2)] == [b"waits", b"token"]


@pytest.mark.parametrize("kind", ["udp", "udpu"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP])
def test_who_refuses_gets_them_one_by_one_for_good(
    ends: Ends, port: int, kind: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def refuse(sock: socket.socket, run: list[bytes], target: tuple[str, int]) -> None:
        asked.append(len(run))
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(transport_module, "send_together", refuse)
    first, second, _ = (ends.open(configuration) for configuration in configurations(port, kind))
    for _ in range(2):
        sent = packets(10)
        for data in sent:
            first.broadcast(data, more=True)
        first.flush()
        assert [data for data, _ in ends.receive(second, len(sent))] == sent
    assert len(asked) == 1
    assert first.send_errors == {}


def test_lost_datagrams_are_counted_each(ends: Ends, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket, run: list[bytes], target: tuple[str, int]) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(transport_module, "send_together", refuse)
    first = ends.open(configurations(port, "udp")[0])
    for data in packets(10):
        first.broadcast(data, more=True)
    first.flush()
    assert first.send_errors == {"Operation not permitted": 11}
    assert [reason for _, reason in ends.refused] == ["Operation not permitted"]
