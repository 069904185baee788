"""The two messages of service synchronization, bodies in group "sync" (chapter "Synchronization")."""

from construct import Array, Check, Construct, Int32sl, Padding, Rebuild, Struct, len_, this

from totemd_protocol.common import RING_ID, message_header

SYNC_SERVICES_MAX = 128

BARRIER = Struct(*message_header(0), "ring" / RING_ID, Padding(4))

SERVICE_BUILD = Struct(
    *message_header(1),
    "ring" / RING_ID,
    Padding(4),
    "service_list_entries" / Rebuild(Int32sl, len_(this.services)),
    Padding(4),
    Check((this.service_list_entries >= 0) & (this.service_list_entries <= SYNC_SERVICES_MAX)),
    "services" / Array(this.service_list_entries, Int32sl),
    Padding(lambda context: 4 * (SYNC_SERVICES_MAX - context.service_list_entries)),
)

MESSAGES: dict[int, tuple[str, Construct]] = {0: ("barrier", BARRIER), 1: ("service_build", SERVICE_BUILD)}
"""By the id of the message's header."""
