"""What a checked corosync.conf means: the records that the rest of totemd reads.

Times are seconds (`_s`) although the file has milliseconds. Nothing here refers to the file's text except
`Configuration.entries`, the key/value image that becomes the cmap.
"""

from enum import Enum
from typing import TypeAlias

from totemd.ids import NodeId
from totemd.limits import NET_MTU_DEFAULT
from totemd.record import record

JOIN_PORT_DEFAULT = 5406

CmapValue: TypeAlias = int | float | str | bytes


class CmapType(Enum):
    """Types of cmap values, numbered as in corosync's cmap (client protocol and `cmap` messages)."""

    I8 = 1
    U8 = 2
    I16 = 3
    U16 = 4
    I32 = 5
    U32 = 6
    I64 = 7
    U64 = 8
    FLOAT = 9
    DOUBLE = 10
    STRING = 11
    BINARY = 12


@record
class CmapEntry:
    """One typed cmap value."""

    type: CmapType
    value: CmapValue


@record
class NodeEntry:
    """One `nodelist.node` section. `addresses[0]` is ring0_addr as written; `address` is it resolved (numeric)."""

    position: int
    nodeid: NodeId
    name: str | None
    addresses: tuple[str, ...]
    address: str
    quorum_votes: int = 1
    uuid: str | None = None
    """Of a managed cluster's node: 32 hex digits, in small letters."""
    public_key: bytes | None = None
    """X25519, 32 bytes."""


@record
class RemovedNode:
    """One `removed.node` section: a node that was taken out for good in configuration version `version`."""

    nodeid: NodeId
    name: str | None
    uuid: str | None
    version: int


@record
class SealSettings:
    """How the ring's datagrams are sealed."""

    suite: str
    """aes128, aes192, aes256 or chacha20."""
    keyfile: str


@record
class TotemParameters:
    """Timeouts and constants of the ring, derived as corosync derives them (corosync.conf(5), section totem)."""

    token_timeout_s: float = 3.0
    token_retransmit_timeout_s: float = 0.714
    token_hold_timeout_s: float = 0.561
    token_retransmits_before_loss_const: int = 4
    token_warning_percent: int = 75
    consensus_timeout_s: float = 3.6
    join_timeout_s: float = 0.05
    send_join_timeout_s: float = 0.0
    merge_timeout_s: float = 0.2
    downcheck_timeout_s: float = 1.0
    fail_recv_const_rotations: int = 2500
    seqno_unchanged_const_rotations: int = 30
    heartbeat_failures_allowed: int = 0
    max_network_delay_s: float = 0.05
    window_size_packets: int = 50
    max_messages_packets: int = 17
    miss_count_const_visits: int = 5
    netmtu_bytes: int = NET_MTU_DEFAULT
    cancel_token_hold_on_retransmit: bool = False
    direct_token: bool = True


class TransportKind(Enum):
    """`totem.transport` as far as totemd speaks it."""

    UDP = "udp"
    UDPU = "udpu"


@record
class TransportSettings:
    """Where datagrams go. All addresses are numeric."""

    kind: TransportKind
    local_address: str
    ipv6: bool
    port: int
    """mcastport: everything is received here and sent from one below (udp) or from here (udpu's tokens)."""
    mcast_address: str | None
    """None for udpu."""
    broadcast: bool
    ttl: int
    block_unlisted_ips: bool


class TieBreaker(Enum):
    """`quorum.auto_tie_breaker_node`; NONE when the option is off."""

    NONE = 0
    LOWEST = 1
    HIGHEST = 2
    LIST = 3


@record
class QuorumSettings:
    """Section `quorum` after the consistency rules of votequorum(5)."""

    provider: str | None = None
    """None, or "corosync_votequorum"."""
    expected_votes: int = 1
    """Given, or the sum of the nodelist's votes."""
    votes: int = 1
    """This node's own."""
    two_node: bool = False
    wait_for_all: bool = False
    last_man_standing: bool = False
    last_man_standing_window_s: float = 10.0
    tie_breaker: TieBreaker = TieBreaker.NONE
    tie_breaker_nodes: tuple[NodeId, ...] = ()
    allow_downscale: bool = False
    expected_votes_tracking: bool = False
    device_model: str | None = None
    device_votes: int = 0
    device_timeout_s: float = 10.0
    device_sync_timeout_s: float = 30.0


@record
class LoggingSettings:
    """Section `logging` (without logger_subsys, which `subsystems` holds by upper-cased name as level names)."""

    to_stderr: bool = True
    to_syslog: bool = True
    to_logfile: bool = False
    logfile: str | None = None
    level: str = "info"
    """Name of the least urgent syslog priority that is written ("emerg" ... "debug")."""
    syslog_facility: str = "daemon"
    debug: bool = False
    timestamp: bool = True
    subsystems: tuple[tuple[str, str], ...] = ()
    logfile_level: str = "info"
    """The same as `level` for the log file, which has a priority of its own."""


@record
class SystemSettings:
    """Section `system` as far as totemd acts on it."""

    state_dir: str | None = None
    qb_ipc: bool = True
    """Whether corosync's client libraries are served."""
    qb_ipc_type: str = "native"
    sched_rr: bool = True
    nice: int | None = None
    """`priority`, for when sched_rr is off or not permitted; None: as started."""
    busy_poll_us: int = 0
    """For how long after each input the daemon keeps its processor, waiting for the next."""


@record
class AccessSettings:
    """Users and groups (numeric) besides root and the daemon's own that may use the sockets."""

    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()


@record
class ConfigWarning:
    """A line of the file that is accepted but not obeyed, or doubtful, and what to do about it."""

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        return f"{place}{self.key}: {self.text}"


@record
class Configuration:
    """A whole, checked configuration."""

    file: str
    cluster_name: str
    config_version: int
    nodes: tuple[NodeEntry, ...]
    local: NodeEntry
    totem: TotemParameters
    transport: TransportSettings
    quorum: QuorumSettings
    logging: LoggingSettings
    system: SystemSettings
    access: AccessSettings
    entries: dict[str, CmapEntry]
    """The cmap keys that the file yields, including computed ones (nodelist.local_node_pos ...)."""
    warnings: tuple[ConfigWarning, ...]
    lines: tuple[tuple[str, int], ...] = ()
    """Which line of `file` gave which key of `entries`."""
    cluster_id: bytes | None = None
    """16 bytes; None: the cluster is not managed, its configuration is kept alike by hand."""
    seal: SealSettings | None = None
    """None: datagrams are neither secret nor authenticated."""
    removed: tuple[RemovedNode, ...] = ()
    join_port: int = JOIN_PORT_DEFAULT
    """TCP, where nodes with a ticket knock."""

    def node(self, nodeid: NodeId) -> NodeEntry | None:
        """The nodelist's entry of `nodeid`, if it has one."""
        return next((node for node in self.nodes if node.nodeid == nodeid), None)

    @property
    def votes(self) -> dict[NodeId, int]:
        """The votes of every node of the nodelist."""
        return {node.nodeid: node.quorum_votes for node in self.nodes}
