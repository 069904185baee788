"""What a node wants done besides the ring's effects; all of them in one ordered list."""

from typing import TypeAlias

from totemd.config.model import LoggingSettings
from totemd.record import record
from totemd.totem.effects import RingEffect


@record
class SendNow:
    """Send `data` as it is to the node at `address` (None: to every other node), also while effects wait for the disk:
    it claims nothing of the ring."""

    address: str | None
    data: bytes


@record
class PersistFile:
    """Write the small file `name` in the state directory; nothing waits for it."""

    name: str
    data: bytes


@record
class ReadConfiguration:
    """Read the configuration file again and hand it to `Node.configuration_read`."""


@record
class ReopenLogs:
    """Close the log file and open it anew: it may have been moved away."""


@record
class ConfigureLogs:
    """Write log lines by these settings from now on."""

    settings: LoggingSettings


@record
class CheckConfiguration:
    """Read `text` as this node's configuration file, and hand the result to `Node.configuration_checked`."""

    ident: bytes
    text: str


@record
class StoreChange:
    """Write the file `name` of the replicated configuration's state, durably and behind those before it, and tell
    `Node.change_stored` how it went."""

    name: str
    data: bytes
    ident: bytes


@record
class WriteConfiguration:
    """Replace the configuration file by `text` and, if there is a `key_ring`, the key file by that."""

    text: str
    key_ring: bytes | None


@record
class Exit:
    """Perform the effects before this one, then end the process with `status`."""

    status: int
    reason: str


NodeEffect: TypeAlias = (
    RingEffect
    | SendNow
    | PersistFile
    | ReadConfiguration
    | ReopenLogs
    | ConfigureLogs
    | CheckConfiguration
    | StoreChange
    | WriteConfiguration
    | Exit
)
