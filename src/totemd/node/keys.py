"""Keys of the configuration map that say what this daemon is made of, and count its services' messages (cmap_keys(7)).

Counting is two additions in the way of every message; the keys are written when somebody looks at them.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from totemd.config.model import CmapEntry, CmapType
from totemd.services.base import ServiceId
from totemd.services.cmap import Cmap, LiveKeys

BLACKBOX_PREFIX: Final = "runtime.blackbox."
_BLACKBOX_KEYS: Final = (f"{BLACKBOX_PREFIX}dump_flight_data", f"{BLACKBOX_PREFIX}dump_state")

_FUNCTIONS: Final = {
    ServiceId.CMAP: 1,
    ServiceId.CFG: 5,
    ServiceId.CPG: 7,
    ServiceId.QUORUM: 0,
    ServiceId.VOTEQUORUM: 4,
    ServiceId.CHANGES: 11,
}
"""How many kinds of messages the nodes' services send each other (protocol/, chapter "Services")."""

_TRAFFIC_PREFIX: Final = "runtime.services."


class Traffic:
    """How many messages of each kind were ordered here, and how many of them are our own; since the start."""

    def __init__(self, services: Iterable[int]) -> None:
        kinds = [
            (service << 16 | function, f"{_TRAFFIC_PREFIX}{service.name.lower()}.{function}")
            for service in map(ServiceId, services)
            for function in range(_FUNCTIONS[service])
        ]
        self._names = dict(kinds)
        self._received = dict.fromkeys(self._names, 0)
        self._sent = dict.fromkeys(self._names, 0)

    def received(self, service: int, function: int, count: int = 1) -> None:
        """Count messages that have come to their place in the order."""
        kind = service << 16 | function
        if kind in self._received:  # what others make up is not counted: it has no end
            self._received[kind] += count

    def sent(self, message: bytes, count: int = 1) -> None:
        """Count a message of ours that was queued, and others of its kind."""
        kind = int.from_bytes(message[:4], "little")
        if kind in self._sent:
            self._sent[kind] += count

    def entries(self) -> Mapping[str, CmapEntry]:
        """The counters as keys."""
        keys = {}
        for word, counts in (("rx", self._received), ("tx", self._sent)):
            for kind, count in counts.items():
                keys[f"{self._names[kind]}.{word}"] = CmapEntry(CmapType.U64, count)
        return keys


def publish_knet_defaults(cmap: Cmap, token_ms: int) -> None:
    """What corosync publishes about knet whatever the transport, for programs that read it: its defaults."""
    prefix = "runtime.config.totem"
    numbers = {"knet_compression_threshold": 0, "knet_mtu": 0, "knet_pmtud_interval": 30}
    numbers |= {"interface.0.knet_ping_interval": token_ms // 4, "interface.0.knet_ping_timeout": token_ms // 2}
    for key, number in numbers.items():
        cmap.publish(f"{prefix}.{key}", CmapEntry(CmapType.U32, number))
    cmap.publish(f"{prefix}.knet_compression_level", CmapEntry(CmapType.I32, 0))
    cmap.publish(f"{prefix}.knet_compression_model", _text("none"))


def publish_services(cmap: Cmap, services: Iterable[int], traffic: Traffic) -> None:
    """Say which services there are, and have their counters read when somebody looks."""
    for service in map(ServiceId, services):
        name = service.name.lower()
        cmap.publish(f"internal_configuration.service.{service}.name", _text(f"corosync_{name}"))
        cmap.publish(f"internal_configuration.service.{service}.ver", CmapEntry(CmapType.U32, 0))
        cmap.publish(f"{_TRAFFIC_PREFIX}{name}.service_id", CmapEntry(CmapType.U16, int(service)))
    cmap.add_live(LiveKeys(_TRAFFIC_PREFIX, traffic.entries))
    for key in _BLACKBOX_KEYS:
        cmap.publish(key, _text("no"))


def _text(text: str) -> CmapEntry:
    return CmapEntry(CmapType.STRING, text)
