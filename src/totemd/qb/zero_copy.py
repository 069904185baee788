"""Multicasts whose data the client leaves in a file in memory, not in its request (cpg requests 9 to 11) [LIB-305].

The client makes the file and says where it is; the daemon opens it, takes its name away and writes a number into it by
which the client speaks of it from then on. The file is the client's, which may change or truncate it at any time: it is
read, never mapped, and only what has been read is checked and used.
"""

from struct import Struct
from typing import Final

from totemd.errors import Code, ServiceError
from totemd.ipc.ports import Credentials, SharedBuffer, SharedBuffers
from totemd.limits import ZERO_COPY_BUFFERS_MAX
from totemd.qb.cpg_messages import MULTICAST

_ADDRESS: Final = Struct("=Q")
_ADDRESS_OFFSET: Final = 8
_HEADER_SIZE: Final = 16
"""What stands in front of the multicast request."""


class ZeroCopyBuffers:
    """The buffers of one connection, each under its number."""

    def __init__(self, buffers: SharedBuffers, owner: Credentials) -> None:
        self._buffers = buffers
        self._owner = owner
        self._open: dict[int, SharedBuffer] = {}
        self._last_address = 0

    def allocate(self, path: bytes, size_bytes: int) -> None:
        """Take a file over. ServiceError: INVALID_PARAM, ACCESS, NO_RESOURCES."""
        if size_bytes < _HEADER_SIZE + MULTICAST.size:
            raise ServiceError(Code.INVALID_PARAM, f"a buffer of {size_bytes} bytes holds no request")
        # Even if there are too many: the client leaves its removal to us.
        buffer = self._buffers.open(path, size_bytes, self._owner)
        address = self._last_address + 1
        try:
            if len(self._open) >= ZERO_COPY_BUFFERS_MAX:
                raise ServiceError(Code.NO_RESOURCES, f"this connection has {ZERO_COPY_BUFFERS_MAX} buffers, the most")
            buffer.write(_ADDRESS_OFFSET, _ADDRESS.pack(address))
        except ServiceError:
            buffer.close()
            raise
        self._last_address = address
        self._open[address] = buffer

    def free(self, address: int) -> None:
        """Give a buffer up. ServiceError NOT_EXIST."""
        buffer = self._open.pop(address, None)
        if buffer is None:
            raise _unknown(address)
        buffer.close()

    def request(self, address: int) -> tuple[int, bytes]:
        """Guarantee and data of the multicast that is in a buffer now. ServiceError: NOT_EXIST, INVALID_PARAM."""
        buffer = self._open.get(address)
        if buffer is None:
            raise _unknown(address)
        head = buffer.read(_HEADER_SIZE, MULTICAST.size)
        if len(head) < MULTICAST.size:
            raise ServiceError(Code.INVALID_PARAM, "the buffer has been truncated")
        guarantee, size_bytes = MULTICAST.unpack(head)
        data = buffer.read(_HEADER_SIZE + MULTICAST.size, size_bytes)
        if len(data) < size_bytes:
            raise ServiceError(Code.INVALID_PARAM, f"a message of {size_bytes} bytes is not in the buffer")
        return guarantee, data

    def close(self) -> None:
        """Give all buffers up."""
        for buffer in self._open.values():
            buffer.close()
        self._open.clear()


def _unknown(address: int) -> ServiceError:
    return ServiceError(Code.NOT_EXIST, f"this connection has no buffer {address}")
