"""The cmap service: the map for clients and the daemon, and config_version between the nodes (chapter "Services").

In each round of synchronization every node says its totem.config_version. A node whose configuration is older than
another's does not belong: it may not know all members, and leaves. This is decided once, in its first round with
other nodes. Corosync's nodes decide in their first round too, but leave whenever the versions differ, also when
their own is the newer one; here only the older side goes, so a node with a newer configuration can join without harm.
What is already running is never stopped by a newcomer, neither here nor there.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from totemd.config.model import CmapEntry, CmapType, CmapValue
from totemd.errors import BadPacket, Code, ServiceError
from totemd.ids import NodeId, RingId
from totemd.limits import CMAP_BYTES_MAX, CMAP_KEYS_MAX
from totemd.services.base import Host, Listener, ServiceId
from totemd.services.cmap import rules
from totemd.services.cmap.live import POLL_S, LiveKeys
from totemd.services.cmap.statistics import Statistics
from totemd.services.cmap.store import Store
from totemd.services.cmap.tracking import ALL_KINDS, CmapChanged, Trackers, TrackKind
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.wire import cmap as wire
from totemd.wire.cmap import CmapReason

_CONFIGURATION_PREFIXES: Final = ("logging.", "totem.", "nodelist.", "quorum.", "uidgid.config.", "nozzle.")
"""Keys that come from the configuration file: those that a new file does not have are deleted."""

_DAEMON_PREFIXES: Final = ("runtime.", "internal_configuration.", "config.")
"""Keys that no file can set."""

_STALE_STATUS: Final = 1

_LIVE_TIMER: Final = "live keys"


class Cmap:
    """Service 0. `address_of` gives a node's numeric address as far as it is known.

    The node calls `retry_pending` whenever the send queue has room again and when synchronization has completed.
    """

    def __init__(self, host: Host, address_of: Callable[[NodeId], str | None]) -> None:
        self._host = host
        self._address_of = address_of
        self._store = Store()
        self._trackers = Trackers()
        self._live: list[LiveKeys] = []
        self.statistics = Statistics(host)
        """Map 1."""
        self._file_keys: frozenset[str] = frozenset()
        self._members: tuple[NodeId, ...] = ()
        self._versions: dict[NodeId, int] = {}
        """config_version of the others, as heard in this round."""
        self._version_sent = False
        self._version_unsent = False
        """Whether a new config_version has still to be multicast."""
        self._checked = False
        """Whether the first round with other nodes is over."""

    @property
    def service_id(self) -> int:
        return ServiceId.CMAP

    # requests of clients

    def get(self, key: str) -> CmapEntry:
        """The key's entry. ServiceError: NOT_EXIST."""
        self._look(key)
        entry = self._store.find(key)
        if entry is None:
            raise ServiceError(Code.NOT_EXIST, rules.why_missing(key))
        return entry

    def set(self, key: str, entry: CmapEntry) -> None:
        """Add or modify a key; its type may change. Nobody is told when nothing changes.

        ServiceError: ACCESS (read-only), NAME_TOO_LONG (no valid key), INVALID_PARAM (the value does not fit its type),
        NO_MEMORY (the map is full).
        """
        self.check_writable(key)
        rules.check_key(key)
        entry = rules.checked(entry)
        self._check_room(key, entry)
        self._put(key, entry)

    def set_value(self, key: str, value: CmapValue) -> None:
        """As `set`, with the type that the key has, or else one that suits the value."""
        rules.check_key(key)
        old = self._store.find(key)
        self.set(key, rules.entry_of(value) if old is None else CmapEntry(old.type, value))

    def delete(self, key: str) -> None:
        """Delete a key. ServiceError: ACCESS (read-only), NOT_EXIST."""
        self.check_writable(key)
        self.get(key)
        self.withdraw(key)

    def adjust(self, key: str, step: int) -> None:
        """Add `step` (32 bits, signed) to a whole number, modulo its width.

        ServiceError: ACCESS (read-only), NOT_EXIST, INVALID_PARAM (no whole number).
        """
        if not -(1 << 31) <= step < 1 << 31:
            raise ServiceError(Code.INVALID_PARAM, "a step has 32 bits")
        self.check_writable(key)
        self._put(key, rules.adjusted(self.get(key), step))

    def iterate(self, prefix: str = "") -> list[tuple[str, CmapEntry]]:
        """A snapshot of all keys that begin with `prefix`, in ASCII order. ServiceError: NAME_TOO_LONG."""
        rules.check_prefix(prefix)
        self._look(prefix)
        return self._store.with_prefix(prefix)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, CmapEntry]]:
        """All keys that begin with `prefix`, in ASCII order, as they are when their turn comes."""
        self._look(prefix)
        return self._store.walk(prefix)

    def track(self, listener: Listener, key: str, kinds: TrackKind = ALL_KINDS, *, prefix: bool = False) -> int:
        """Have `CmapChanged` pushed for a key, or for all keys that begin with it. Returns a handle for `untrack`.

        A name that no key can have may be tracked, and so may no kind of change: nothing will come of it.
        ServiceError: INVALID_PARAM (there is no such kind), NO_RESOURCES.
        """
        self._look(key)
        handle = self._trackers.add(listener, key, kinds, prefix)
        self._poll_live()
        return handle

    def untrack(self, handle: int) -> None:
        """End one tracking. ServiceError: NOT_EXIST."""
        self._trackers.remove(handle)

    def disconnect(self, listener: Listener) -> None:
        """End all trackings of the listener."""
        self._trackers.forget(listener)

    def check_writable(self, key: str) -> None:
        """ServiceError ACCESS if only the daemon may change the key."""
        if rules.is_read_only(key):
            raise ServiceError(Code.ACCESS, f"{key} is read-only")

    def _check_room(self, key: str, entry: CmapEntry) -> None:
        old = self._store.find(key)
        if old is None and len(self._store) >= CMAP_KEYS_MAX:
            raise ServiceError(Code.NO_MEMORY, f"the map has {CMAP_KEYS_MAX} keys already")
        growth = rules.size_of(key, entry) - (0 if old is None else rules.size_of(key, old))
        if growth > 0 and self._store.bytes + growth > CMAP_BYTES_MAX:
            raise ServiceError(Code.NO_MEMORY, f"the map has {self._store.bytes} bytes already")

    # for the daemon itself

    def add_live(self, keys: LiveKeys) -> None:
        """Have keys written when somebody looks at them, and not before; trackers are told 1.5 s later at most."""
        self._live.append(keys)
        self._write(keys)

    def _look(self, prefix: str) -> None:
        for keys in self._live:
            if keys.concern(prefix):
                self._write(keys)

    def _write(self, keys: LiveKeys) -> None:
        for key, entry in keys.read().items():
            self._put(key, entry)

    def _poll_live(self) -> None:
        tracked = [keys for keys in self._live if self._trackers.want_any_of(keys.prefix)]
        for keys in tracked:
            self._write(keys)
        if tracked:
            self._host.set_timer(_LIVE_TIMER, POLL_S, self._poll_live)

    def find(self, key: str) -> CmapEntry | None:
        """The key's entry, if it has one."""
        return self._store.find(key)

    def publish(self, key: str, entry: CmapEntry) -> None:
        """Set a key on behalf of the daemon, read-only or not. ServiceError if name or value are no good."""
        rules.check_key(key)
        self._put(key, rules.checked(entry))

    def withdraw(self, key: str) -> None:
        """Delete a key, if there is one, on behalf of the daemon."""
        change = self._store.drop(key)
        if change is not None:
            self._changed(change)

    def replace_configuration(self, entries: Mapping[str, CmapEntry]) -> None:
        """Make the file's keys be these: all of them or, with a ServiceError, none.

        Keys of the file's sections that the new file does not have are deleted, also when a client had set them.
        Keys that belong to the daemon (runtime ...) are left alone, also when the file has them.
        Trackers are told when everything is in place: deletions, then the rest, each in the order of the keys.
        """
        new = {}
        for key, entry in sorted(entries.items()):
            if key.startswith(_DAEMON_PREFIXES):
                self._host.log("warning", f"{key} in the configuration file is ignored: the daemon itself sets it")
                continue
            rules.check_key(key)
            new[key] = rules.checked(entry)
        changes = [self._store.drop(key) for key in self._configuration_keys() if key not in new]
        changes += [self._store.put(key, entry) for key, entry in new.items()]
        self._file_keys = frozenset(new)
        for change in changes:
            if change is not None:
                self._changed(change)

    def _configuration_keys(self) -> list[str]:
        return [
            key
            for key, _ in self._store.with_prefix("")
            if key in self._file_keys or key.startswith(_CONFIGURATION_PREFIXES)
        ]

    def is_joined(self, nodeid: NodeId) -> bool:
        """Whether the node is in the ring, as far as the map knows."""
        status = self._store.find(f"runtime.members.{nodeid}.status")
        return status is not None and status.value == "joined"

    def _put(self, key: str, entry: CmapEntry) -> None:
        change = self._store.put(key, entry)
        if change is not None:
            self._changed(change)

    def _changed(self, change: CmapChanged) -> None:
        if change.key == wire.CONFIG_VERSION_KEY:
            self._version_unsent = True
            self.retry_pending()
        self._trackers.tell(change)

    # config_version between the nodes

    def _own_version(self) -> int | None:
        entry = self._store.find(wire.CONFIG_VERSION_KEY)
        if entry is None or entry.type is not CmapType.U64 or not isinstance(entry.value, int):
            return None
        return entry.value

    def retry_pending(self) -> bool:
        """Send a new config_version that could not be queued; True if nothing is left to send."""
        if not self._version_unsent:
            return True
        if self._host.sync_in_progress:
            return False
        if self._host.multicast(wire.encode_config_version(CmapReason.NEW_CONFIG_VERSION, self._own_version())):
            self._version_unsent = False
        return not self._version_unsent

    def receive(self, function: int, sender: NodeId, message: bytes) -> None:
        """Act on a message; BadPacket if it is not valid."""
        if function != wire.CMAP_MCAST:
            raise BadPacket("cmap unknown function", str(function))
        version = wire.config_version_of(wire.decode_cmap_values(message))
        if version is None:
            return
        if sender != self._host.nodeid:
            self._versions[sender] = version
        self.publish(f"runtime.members.{sender}.config_version", CmapEntry(CmapType.U64, version))

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        """Keep runtime.members up to date: who left, who joined, and how often."""
        for nodeid in change.left:
            if self.is_joined(nodeid):
                self.publish(f"runtime.members.{nodeid}.status", CmapEntry(CmapType.STRING, "left"))
        if change.kind is ConfigurationKind.REGULAR:
            for nodeid in change.members:
                if nodeid in change.joined or not self.is_joined(nodeid):
                    self._publish_joined(nodeid)

    def _publish_joined(self, nodeid: NodeId) -> None:
        prefix = f"runtime.members.{nodeid}"
        address = self._address_of(nodeid)
        if address is not None:
            # with the trailing blank that corosync writes between its links
            self.publish(f"{prefix}.ip", CmapEntry(CmapType.STRING, f"r(0) ip({address}) "))
        count = self._store.find(f"{prefix}.join_count")
        joins = count.value if count is not None and count.type is CmapType.U32 else 0
        assert isinstance(joins, int)
        self.publish(f"{prefix}.join_count", CmapEntry(CmapType.U32, min(joins + 1, 0xFFFFFFFF)))
        self.publish(f"{prefix}.status", CmapEntry(CmapType.STRING, "joined"))

    def sync_init(self, transitional: tuple[NodeId, ...], members: tuple[NodeId, ...], ring: RingId) -> None:
        """A round begins: what was heard in the last one is forgotten."""
        self._members = members
        self._versions = {}
        self._version_sent = False

    def sync_process(self) -> bool:
        """Say this node's config_version, once."""
        if not self._version_sent:
            if not self._host.multicast(wire.encode_config_version(CmapReason.SYNC, self._own_version())):
                return False
            self._version_sent = True
            self._version_unsent = False
        return True

    def sync_activate(self) -> None:
        """In the first round with others: leave if this node's configuration is older than one of theirs."""
        if self._checked or len(self._members) < 2:
            return
        self._checked = True
        own = self._own_version() or 0
        others = {nodeid: version for nodeid, version in self._versions.items() if nodeid in self._members}
        newest = max(others, key=lambda nodeid: others[nodeid], default=self._host.nodeid)
        version = others.get(newest, 0)
        if own and version > own:
            reason = (
                f"this node's configuration has config_version {own}, but node {newest} has {version}: "
                "copy the newer configuration file to this node, then start again"
            )
            self._host.log("crit", reason)
            self._host.shut_down(reason, status=_STALE_STATUS)
        elif own and version < own:
            self._host.log(
                "warning",
                f"this node's configuration has config_version {own}, the others' at most {version}: "
                "copy the newer configuration file to them, then reload",
            )

    def sync_abort(self) -> None:
        """The configuration has changed again; the next round begins anew."""
        self._version_sent = False
