"""The table of all directives of corosync.conf(5) and votequorum(5)."""

from totemd.config.model import CmapType
from totemd.config.schema import INTEGER_RANGES, Directive, Reload, Schema, Status

_KNET_NOTE = "only the knet transport uses it, which totemd does not speak; remove it"
_HASH_NOTE = "every cipher here authenticates as well (AES-GCM, ChaCha20-Poly1305); remove it"
_YES_NO = ("yes", "no")
_PRIORITIES = ("alert", "crit", "debug", "emerg", "err", "info", "notice", "warning")
_FACILITIES = ("daemon", *(f"local{number}" for number in range(8)))
_UDP = ("udp",)
_KNET = ("knet",)
_EFFECTIVE = Reload.EFFECTIVE
_RESTART = Reload.RESTART


def _integer(
    section: str,
    key: str,
    default: str,
    reload: Reload,
    kind: CmapType = CmapType.U32,
    span: tuple[int, int] | None = None,
    transports: tuple[str, ...] = ("udp", "udpu", "knet"),
) -> Directive:
    low, high = span or INTEGER_RANGES[kind]
    return Directive(section, key, kind, default, low, high, transports=transports, reload=reload)


def _text(
    section: str,
    key: str,
    default: str,
    reload: Reload,
    choices: tuple[str, ...] = (),
    transports: tuple[str, ...] = ("udp", "udpu", "knet"),
) -> Directive:
    return Directive(section, key, CmapType.STRING, default, choices=choices, transports=transports, reload=reload)


def _ignored(
    section: str,
    key: str,
    default: str,
    note: str,
    kind: CmapType = CmapType.STRING,
    choices: tuple[str, ...] = (),
    harmless: tuple[str, ...] = (),
    transports: tuple[str, ...] = ("udp", "udpu", "knet"),
) -> Directive:
    low, high = INTEGER_RANGES.get(kind, (0, 0))
    return Directive(
        section, key, kind, default, low, high, choices, transports, Status.IGNORED, harmless, note, Reload.EFFECTIVE
    )


def _flag(key: str, reload: Reload, default: str = "0") -> Directive:
    return _integer("quorum", key, default, reload, CmapType.U8, (0, 1))


_TOTEM_TIMES = tuple(
    _integer("totem", key, default, _EFFECTIVE)
    for key, default in (
        ("token", "3000 ms"),
        ("token_coefficient", "650 ms"),
        ("token_retransmits_before_loss_const", "4"),
        ("token_retransmit", "token / (token_retransmits_before_loss_const + 0.2)"),
        ("hold", "0.8 * token_retransmit - 10 ms"),
        ("join", "50 ms"),
        ("send_join", "0 ms"),
        ("consensus", "1.2 * token"),
        ("merge", "200 ms"),
        ("downcheck", "1000 ms"),
        ("fail_recv_const", "2500"),
        ("seqno_unchanged_const", "30"),
        ("heartbeat_failures_allowed", "0 (off)"),
        ("max_network_delay", "50 ms"),
        ("window_size", "50"),
        ("max_messages", "17"),
        ("miss_count_const", "5"),
    )
)

_TOTEM = (
    _integer("totem", "version", "none; required", _RESTART, span=(2, 2)),
    _text("totem", "transport", "knet, which totemd refuses", _RESTART, ("udp", "udpu", "knet")),
    _text("totem", "cluster_name", "none", _RESTART),
    _integer("totem", "config_version", "0", _EFFECTIVE, CmapType.U64),
    _ignored("totem", "nodeid", "none", "deprecated and without effect; set nodeid in nodelist.node", CmapType.U32),
    _text("totem", "clear_node_high_bit", "no", _RESTART, _YES_NO),
    _ignored("totem", "crypto_model", "nss", _KNET_NOTE, transports=_KNET),
    _text(
        "totem",
        "crypto_cipher",
        "aes256 with secauth: on or cluster_id, else none",
        _RESTART,
        ("none", "aes128", "aes192", "aes256", "chacha20"),
    ),
    _ignored(
        "totem",
        "crypto_hash",
        "none",
        _HASH_NOTE,
        choices=("none", "md5", "sha1", "sha256", "sha384", "sha512"),
        harmless=("none",),
    ),
    _text("totem", "secauth", "off", _RESTART, ("on", "off")),
    _text("totem", "keyfile", "/etc/corosync/authkey", _RESTART),
    _ignored("totem", "key", "none", "the key is read from totem.keyfile alone; remove it"),
    _text("totem", "cluster_id", "none: configured by hand", _RESTART),
    _integer("totem", "join_port", "5406", _EFFECTIVE, CmapType.U16, (1, 65535)),
    _text("totem", "ip_version", "ipv4 (udp), ipv6-4 (udpu)", _RESTART, ("ipv4", "ipv6", "ipv4-6", "ipv6-4")),
    _ignored("totem", "link_mode", "passive", _KNET_NOTE, choices=("passive", "active", "rr"), harmless=("passive",)),
    _integer("totem", "netmtu", "1500 bytes", _RESTART),
    _ignored("totem", "threads", "0", "without effect since corosync 3; remove it", CmapType.U32, harmless=("0",)),
    _ignored(
        "totem",
        "rrp_mode",
        "none",
        "redundant rings ended with corosync 3 and totemd has one link; bond the network interfaces instead",
        choices=("none", "active", "passive"),
        harmless=("none",),
    ),
    *_TOTEM_TIMES,
    _integer("totem", "token_warning", "75 %", _EFFECTIVE, span=(0, 100)),
    _ignored("totem", "knet_pmtud_interval", "30 s", _KNET_NOTE, CmapType.U32, transports=_KNET),
    _ignored("totem", "knet_mtu", "0 (automatic)", _KNET_NOTE, CmapType.U32, transports=_KNET),
    _ignored(
        "totem", "knet_compression_model", "none", _KNET_NOTE, CmapType.STRING, harmless=("none",), transports=_KNET
    ),
    _ignored("totem", "knet_compression_threshold", "0", _KNET_NOTE, CmapType.U32, transports=_KNET),
    _ignored("totem", "knet_compression_level", "0", _KNET_NOTE, CmapType.I32, transports=_KNET),
    _text("totem", "block_unlisted_ips", "yes", _EFFECTIVE, _YES_NO),
    _text("totem", "cancel_token_hold_on_retransmit", "no", _EFFECTIVE, _YES_NO),
    _text("totem", "direct_token", "yes", _EFFECTIVE, _YES_NO),
)

_INTERFACE = (
    _integer("totem.interface", "linknumber", "0", _RESTART, CmapType.U8),
    _text("totem.interface", "bindnetaddr", "this node's ring0_addr", _RESTART, transports=_UDP),
    _text("totem.interface", "mcastaddr", "derived from totem.cluster_name", _RESTART, transports=_UDP),
    _text("totem.interface", "broadcast", "no", _RESTART, _YES_NO, transports=_UDP),
    _integer("totem.interface", "mcastport", "5405", _RESTART, CmapType.U16),
    _integer("totem.interface", "ttl", "1", _RESTART, CmapType.U8, transports=_UDP),
    _ignored("totem.interface", "knet_link_priority", "1", _KNET_NOTE, CmapType.U8, harmless=("1",), transports=_KNET),
    _ignored("totem.interface", "knet_ping_interval", "from token", _KNET_NOTE, CmapType.U32, transports=_KNET),
    _ignored("totem.interface", "knet_ping_timeout", "from token", _KNET_NOTE, CmapType.U32, transports=_KNET),
    _ignored("totem.interface", "knet_ping_precision", "2048", _KNET_NOTE, CmapType.U32, transports=_KNET),
    _ignored("totem.interface", "knet_pong_count", "2", _KNET_NOTE, CmapType.U32, transports=_KNET),
    _ignored("totem.interface", "knet_transport", "udp", _KNET_NOTE, choices=("udp", "sctp"), transports=_KNET),
    _ignored("totem.interface.member", "memberaddr", "none", "deprecated; the nodelist says who the members are"),
)

_NODELIST = (
    _text("nodelist.node", "ring#_addr", "none; ring0_addr is required", _EFFECTIVE),
    _integer("nodelist.node", "nodeid", "the IPv4 address as a number", _EFFECTIVE, span=(1, 2**32 - 1)),
    _text("nodelist.node", "name", "none", _EFFECTIVE),
    _integer("nodelist.node", "quorum_votes", "1", _EFFECTIVE),
    _text("nodelist.node", "uuid", "none", _EFFECTIVE),
    _text("nodelist.node", "public_key", "none", _EFFECTIVE),
    _integer("nodelist.node", "joining_votes", "none: the node counts as it stands", _EFFECTIVE),
    _text("nodelist.node", "leaving", "no", _EFFECTIVE, _YES_NO),
)

_REMOVED = (
    _integer("removed.node", "nodeid", "none; required", _EFFECTIVE, span=(1, 2**32 - 1)),
    _text("removed.node", "name", "none", _EFFECTIVE),
    _text("removed.node", "uuid", "none", _EFFECTIVE),
    _integer("removed.node", "version", "0", _EFFECTIVE, CmapType.U64),
)

_QUORUM = (
    _text("quorum", "provider", "none: no quorum at all", _RESTART, ("corosync_votequorum",)),
    _integer("quorum", "expected_votes", "sum of the nodelist's votes", _EFFECTIVE, span=(1, 2**32 - 1)),
    _ignored("quorum", "votes", "1", "the nodelist decides the votes; set quorum_votes in nodelist.node", CmapType.U32),
    _flag("two_node", _EFFECTIVE),
    _flag("wait_for_all", _RESTART, "two_node"),
    _flag("last_man_standing", _RESTART),
    _integer("quorum", "last_man_standing_window", "10000 ms", _RESTART, span=(1, 2**32 - 1)),
    _flag("auto_tie_breaker", _RESTART),
    _text("quorum", "auto_tie_breaker_node", "lowest", _RESTART),
    _flag("allow_downscale", _RESTART),
    _flag("expected_votes_tracking", _RESTART),
    _ignored("quorum", "leaving_timeout", "0", "corosync does not use it either; remove it", CmapType.U32),
    _text("quorum.device", "model", "none: no quorum device", _EFFECTIVE),
    _integer("quorum.device", "votes", "nodes - 1", _EFFECTIVE),
    _integer("quorum.device", "timeout", "10000 ms", _EFFECTIVE, span=(1, 2**32 - 1)),
    _integer("quorum.device", "sync_timeout", "30000 ms", _EFFECTIVE, span=(1, 2**32 - 1)),
    # For the device's own eyes, like its sections net and heuristics.
    _integer("quorum.device", "master_wins", "0", _EFFECTIVE, CmapType.U8),
)

_ON_OFF = ("on", "off")
_FORMAT_NOTE = "totemd's log lines have no such field"
_LOG_OUTPUT = tuple(
    _text(section, key, default, _EFFECTIVE, choices)
    for section in ("logging", "logging.logger_subsys")
    for key, default, choices in (
        ("to_stderr", "yes", _YES_NO),
        ("to_syslog", "yes", _YES_NO),
        ("to_logfile", "no", _YES_NO),
        ("logfile", "none", ()),
        ("logfile_priority", "info", _PRIORITIES),
        ("syslog_priority", "info", _PRIORITIES),
        ("syslog_facility", "daemon", _FACILITIES),
        ("debug", "off", ("on", "off", "trace")),
    )
)
_LOGGING = (
    _text("logging", "timestamp", "hires", _EFFECTIVE, ("off", "on", "hires")),
    _ignored("logging", "fileline", "off", _FORMAT_NOTE, choices=_ON_OFF, harmless=("off",)),
    _ignored("logging", "function_name", "off", _FORMAT_NOTE, choices=_ON_OFF, harmless=("off",)),
    _ignored("logging", "blackbox", "on", "totemd keeps no blackbox", choices=_ON_OFF, harmless=("off",)),
    *_LOG_OUTPUT,
    _text("logging.logger_subsys", "subsys", "none; required", _EFFECTIVE),
)

_CGROUP_NOTE = "totemd stays in the control group that it was started in; use the service manager (Slice=)"
_SYSTEM = (
    _text("system", "qb_ipc", "yes: serve corosync's client libraries", _RESTART, _YES_NO),
    _text("system", "qb_ipc_type", "native (shm)", _RESTART, ("native", "shm", "socket")),
    _text("system", "sched_rr", "yes", _RESTART, _YES_NO),
    _text("system", "priority", "unset", _RESTART),
    _integer("system", "busy_poll_us", "0 (off; totemd's own)", _RESTART, CmapType.U32, (0, 10_000)),
    _ignored(
        "system",
        "move_to_root_cgroup",
        "auto",
        _CGROUP_NOTE,
        choices=("yes", "no", "auto"),
        harmless=("no", "auto"),
    ),
    _ignored(
        "system", "allow_knet_handle_fallback", "no", _KNET_NOTE, choices=_YES_NO, harmless=("no",), transports=_KNET
    ),
    _text("system", "state_dir", "/var/lib/totemd", _RESTART),
)

_REST = (
    _text("uidgid", "uid", "none", _EFFECTIVE),
    _text("uidgid", "gid", "none", _EFFECTIVE),
    *(
        _ignored("nozzle", key, "none", _KNET_NOTE, transports=_KNET)
        for key in ("name", "ipaddr", "ipprefix", "macaddr")
    ),
    _ignored("resources", "watchdog_device", "off", "totemd drives no watchdog", harmless=("", "off")),
)

SCHEMA = Schema(
    _TOTEM + _INTERFACE + _NODELIST + _REMOVED + _QUORUM + _LOGGING + _SYSTEM + _REST,
    free_sections=("quorum.device.net", "quorum.device.heuristics"),
)
"""All directives that totemd knows."""

IGNORED_SECTIONS = {
    "resources": "totemd watches no resources and drives no watchdog",
    "pload": "totemd has no load generator of this kind",
    "logging.logging_daemon": "totemd does not read it; use logging.logger_subsys",
}
"""Sections that are accepted with one warning for all their keys."""
