"""The `construct` definitions of everything that totemd puts on a wire: the specification in executable form.

One module per chapter of protocol/: `totem` (packets of the ring), `groups` (packing and the group header), `sync`,
`services` and `native` (the socket of local clients). `describe` turns a datagram into nested fields for people.
The daemon does not use any of this: its codecs are written by hand and a test holds both against the golden vectors.
"""

from totemd_protocol.describe import describe, jsonable

__all__ = ["describe", "jsonable"]
