"""The machine's addresses as the kernel tells them."""

import errno
import socket
from contextlib import closing

import psutil
import pytest

from totemd.errors import MachineError
from totemd.shell.addresses import Changes, interface_index, machine_addresses


def test_the_same_addresses_as_another_library_finds() -> None:
    others = [
        (name, entry.address.partition("%")[0])
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    ]
    assert sorted(machine_addresses()) == sorted(address for _, address in others)
    for name, address in others:
        # The same link-local address may be on several interfaces.
        names = {other for other, same in others if same == address}
        assert socket.if_indextoname(interface_index(address)) in names, name


def test_an_address_that_no_interface_has() -> None:
    with pytest.raises(OSError, match=r"no interface has the address 198\.51\.100\.1") as caught:
        interface_index("198.51.100.1")
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_kernel_that_cannot_be_asked_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", exhausted)
    with pytest.raises(MachineError, match="addresses: Too many open files"):
        machine_addresses()


class Flooded:
    """A socket that always has something, and now and then lost some."""

    def __init__(self) -> None:
        self.calls = 0

    def recv(self, size: int) -> bytes:
        self.calls += 1
        assert self.calls < 100_000, "no end"
        if self.calls % 3 == 0:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return b"notice"

    def close(self) -> None:
        pass


def test_notices_without_end_are_dropped_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Changes()) as changes:
        changes.forget()
        flooded = Flooded()
        with monkeypatch.context() as patched:
            patched.setattr(changes, "_socket", flooded)
            changes.forget()
        assert flooded.calls > 1
