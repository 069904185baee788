"""The two messages of service synchronization, bodies in the group "sync" (protocol/, chapter "Synchronization").

Both begin like a service message, with the plain ids 0 and 1 in place of service and function.
"""

from struct import Struct
from typing import Final

from totemd.errors import BadPacket
from totemd.ids import RingId
from totemd.limits import SYNC_SERVICES_MAX
from totemd.record import record

_BARRIER_ID: Final = 0
_SERVICE_BUILD_ID: Final = 1

_IDENT: Final = Struct("<i")
# id, size, ring (rep and seq unaligned)
_HEAD: Final = Struct("<i4xi4xIQ4x")
_SERVICES: Final = Struct(f"<i4x{SYNC_SERVICES_MAX}i")

BARRIER_SIZE: Final = _HEAD.size
SERVICE_BUILD_SIZE: Final = _HEAD.size + _SERVICES.size


@record
class ServiceBuild:
    """The sender is in `ring` and has these services to synchronize."""

    ring: RingId
    services: tuple[int, ...]


@record
class Barrier:
    """The sender has multicast all it has to say for the service that is being synchronized in `ring`."""

    ring: RingId


def encode_service_build(message: ServiceBuild) -> bytes:
    """The body; ValueError for more services than the message can list."""
    count = len(message.services)
    if count > SYNC_SERVICES_MAX:
        raise ValueError(f"{count} services in a message that lists at most {SYNC_SERVICES_MAX}")
    ring = message.ring
    unused = (0,) * (SYNC_SERVICES_MAX - count)
    head = _HEAD.pack(_SERVICE_BUILD_ID, SERVICE_BUILD_SIZE, ring.rep, ring.seq)
    return head + _SERVICES.pack(count, *message.services, *unused)


def decode_service_build(body: bytes) -> ServiceBuild:
    """Read the body of a SERVICE_BUILD. Bytes behind it are ignored, as real nodes do."""
    ring = _decode_head(body, _SERVICE_BUILD_ID, SERVICE_BUILD_SIZE)
    count, *services = _SERVICES.unpack_from(body, _HEAD.size)
    if not 0 <= count <= SYNC_SERVICES_MAX:
        raise BadPacket("service build count", f"{count} services")
    return ServiceBuild(ring, tuple(services[:count]))


def encode_barrier(message: Barrier) -> bytes:
    """The body."""
    return _HEAD.pack(_BARRIER_ID, BARRIER_SIZE, message.ring.rep, message.ring.seq)


def decode_barrier(body: bytes) -> Barrier:
    """Read the body of a BARRIER. Bytes behind it are ignored, as real nodes do."""
    return Barrier(_decode_head(body, _BARRIER_ID, BARRIER_SIZE))


def decode_sync(body: bytes) -> ServiceBuild | Barrier:
    """Read either message; BadPacket if it is neither."""
    (ident,) = _IDENT.unpack_from(body) if len(body) >= _IDENT.size else (_BARRIER_ID,)
    return decode_service_build(body) if ident == _SERVICE_BUILD_ID else decode_barrier(body)


def _decode_head(body: bytes, ident: int, size: int) -> RingId:
    if len(body) < size:
        raise BadPacket("sync message truncated", f"{len(body)} bytes of {size}")
    found, _, rep, seq = _HEAD.unpack_from(body)
    if found != ident:
        raise BadPacket("sync message id", f"{found}")
    return RingId(rep, seq)
