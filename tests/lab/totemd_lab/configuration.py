"""The corosync.conf that all nodes of a laboratory ring share."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RingSettings:
    """What a ring's configuration says besides its nodes. Times are milliseconds, as in the file; None: the default."""

    transport: str = "udp"
    port: int = 5405
    mcast_address: str | None = "239.255.78.1"
    """None: computed by the daemons from the cluster's name."""
    network: str = "10.78.0.{}"
    """The nodes' addresses, with the node id for the braces, when they are in namespaces."""
    prefix_length: int = 24
    token_ms: int | None = None
    token_coefficient_ms: int | None = None
    totem: dict[str, str] = field(default_factory=dict)
    """Further keys of section totem."""
    quorum: dict[str, str] = field(default_factory=dict)
    """Further keys of section quorum."""
    system: dict[str, str] = field(default_factory=dict)
    """Further keys of section system."""


@dataclass(frozen=True)
class Member:
    """One entry of the nodelist."""

    nodeid: int
    address: str

    @property
    def name(self) -> str:
        return f"n{self.nodeid}"


def corosync_conf(members: Sequence[Member], settings: RingSettings, state_dir: str, logfile: str) -> str:
    """The text of one node's corosync.conf: the nodes differ only in where they write."""
    totem = {"version": "2", "cluster_name": "lab", "transport": settings.transport}
    if settings.token_ms is not None:
        totem["token"] = str(settings.token_ms)
    if settings.token_coefficient_ms is not None:
        totem["token_coefficient"] = str(settings.token_coefficient_ms)
    totem |= settings.totem
    interface = {"linknumber": "0", "mcastport": str(settings.port)}
    if settings.transport == "udp" and settings.mcast_address is not None:
        interface["mcastaddr"] = settings.mcast_address
    nodes = [
        _section("node", {"ring0_addr": member.address, "nodeid": str(member.nodeid), "name": member.name})
        for member in members
    ]
    logging = {"to_syslog": "no", "to_stderr": "yes", "timestamp": "hires", "to_logfile": "no", "logfile": logfile}
    return "".join(
        [
            _section("totem", totem, [_section("interface", interface)]),
            _section("nodelist", {}, nodes),
            _section("quorum", {"provider": "corosync_votequorum", **settings.quorum}),
            _section("logging", logging),
            # Real-time scheduling would starve the other nodes of the same machine.
            _section("system", {"sched_rr": "no", "state_dir": state_dir, **settings.system}),
        ]
    )


def _section(name: str, values: dict[str, str], inner: Sequence[str] = ()) -> str:
    body = "".join(f"    {key}: {value}\n" for key, value in values.items())
    return f"{name} {{\n{body}{''.join(inner)}}}\n"
