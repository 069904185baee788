"""Whole files: what a configuration comes to, and which errors name which line and key."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.config import CmapEntry, CmapType, CmapValue, Configuration, TransportKind, load
from totemd.errors import ConfigError

Load = Callable[..., Configuration]
Conf = Callable[..., str]

SAMPLE = """\
# Please read the corosync.conf.5 manual page
totem {
	version: 2
	cluster_name: debian
	transport: udpu
	crypto_cipher: none
	crypto_hash: none
	interface {
		linknumber: 0
		bindnetaddr: 10.0.0.0
		mcastport: 5407
	}
}

logging {
	fileline: off
	to_stderr: yes
	to_logfile: yes
	logfile: /var/log/corosync/corosync.log
	to_syslog: yes
	syslog_facility: local3
	syslog_priority: notice
	logfile_priority: err
	debug: off
	timestamp: off
	logger_subsys {
		subsys: Quorum
		debug: on
	}
}

quorum {
	provider: corosync_votequorum
}

nodelist {
	node {
		name: node1
		nodeid: 1
		ring0_addr: alpha
	}
	node {
		name: node2
		ring0_addr: beta
		quorum_votes: 2
	}
}

uidgid {
	uid: hacluster
	gid: 77
}
"""


def test_a_whole_sample(load_conf: Load) -> None:
    loaded = load_conf(SAMPLE, files={"uidgid.d/pcmk": "uidgid {\ngid: haclient\nuid: 189\n}\n"})
    assert loaded.cluster_name == "debian"
    assert loaded.config_version == 0
    assert [(node.position, node.nodeid, node.name, node.address) for node in loaded.nodes] == [
        (0, 1, "node1", "10.0.0.1"),
        (1, 0x0A000002, "node2", "10.0.0.2"),
    ]
    assert loaded.local == loaded.nodes[0]
    assert loaded.nodes[1].addresses == ("beta",)
    assert loaded.transport.kind is TransportKind.UDPU
    assert (loaded.transport.local_address, loaded.transport.port) == ("10.0.0.1", 5407)
    assert loaded.transport.mcast_address is None
    assert loaded.quorum.expected_votes == 3
    assert loaded.quorum.votes == 1
    assert (loaded.logging.level, loaded.logging.logfile_level) == ("notice", "err")
    assert loaded.logging.syslog_facility == "local3"
    assert loaded.logging.subsystems == (("QUORUM", "debug"),)
    assert loaded.logging.logfile == "/var/log/corosync/corosync.log"
    assert not loaded.logging.timestamp
    assert loaded.access.uids == (189,)
    assert loaded.access.gids == (77, 190)
    assert loaded.warnings == ()


def test_the_cmap_image(load_conf: Load, conf: Conf) -> None:
    text = conf(totem="transport: udp\ncluster_name: test\nconfig_version: 7\ntoken: 1000\nunknown: x")
    text += "uidgid {\nuid: 12\n}\nlogging {\nlogger_subsys {\nsubsys: CPG\ndebug: on\n}\n}\n"
    entries = load_conf(text).entries
    expected: dict[str, tuple[CmapType, CmapValue]] = {
        "totem.version": (CmapType.U32, 2),
        "totem.config_version": (CmapType.U64, 7),
        "totem.token": (CmapType.U32, 1000),
        "totem.unknown": (CmapType.STRING, "x"),
        "totem.interface.0.bindnetaddr": (CmapType.STRING, "10.0.0.1"),
        "totem.interface.0.mcastaddr": (CmapType.STRING, "239.192.6.148"),
        "totem.interface.0.mcastport": (CmapType.U16, 5405),
        "nodelist.local_node_pos": (CmapType.U32, 0),
        "nodelist.node.2.ring0_addr": (CmapType.STRING, "10.0.0.3"),
        "nodelist.node.2.nodeid": (CmapType.U32, 3),
        "runtime.config.totem.token": (CmapType.U32, 1650),
        "runtime.config.totem.consensus": (CmapType.U32, 1980),
        "runtime.config.totem.block_unlisted_ips": (CmapType.U32, 1),
        "runtime.config.totem.cancel_token_hold_on_retransmit": (CmapType.U32, 0),
        "uidgid.config.uid.12": (CmapType.U8, 1),
        "logging.logger_subsys.CPG.subsys": (CmapType.STRING, "CPG"),
        "logging.logger_subsys.CPG.debug": (CmapType.STRING, "on"),
    }
    assert {key: entries.get(key) for key in expected} == {key: CmapEntry(*entry) for key, entry in expected.items()}
    assert "totem.token_coefficient" not in entries


def test_a_shared_key_stays_out_of_the_cmap_and_of_the_warnings(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(totem="transport: udp\ncluster_name: c\nkey: secret"))
    assert "totem.key" not in loaded.entries
    assert [warning.key for warning in loaded.warnings] == ["totem.key"]
    assert "secret" not in str(loaded.warnings)


def test_ipv6(load_conf: Load, conf: Conf) -> None:
    nodes = "node {\nring0_addr: fd00::1\nnodeid: 1\n}\nnode {\nring0_addr: six\nnodeid: 2\n}\n"
    text = conf(totem="transport: udp\ncluster_name: test\nip_version: ipv6", nodes=nodes)
    loaded = load_conf(text)
    assert loaded.transport.ipv6
    assert loaded.transport.local_address == "fd00::1"
    assert loaded.transport.mcast_address == "ff15::68e"
    assert [node.address for node in loaded.nodes] == ["fd00::1", "fd00::6"]
    unicast = load_conf(text.replace("udp", "udpu").replace("ip_version: ipv6", ""))
    assert unicast.transport.ipv6


@pytest.mark.parametrize(
    ("version", "address"),
    [("ipv4", "10.0.0.1"), ("ipv6", "fd00::1"), ("ipv4-6", "10.0.0.1"), ("ipv6-4", "fd00::1")],
)
def test_ip_version_chooses_among_a_names_addresses(load_conf: Load, conf: Conf, version: str, address: str) -> None:
    text = conf(
        totem=f"transport: udpu\nip_version: {version}", nodes="node {\nring0_addr: both\nnodeid: 1\n}\n", count=1
    )
    assert load_conf(text).local.address == address
    assert load_conf(text.replace(f"ip_version: {version}", "")).local.address == "fd00::1"
    assert load_conf(text.replace(f"udpu\nip_version: {version}", "udp\ncluster_name: c")).local.address == "10.0.0.1"


def test_broadcast(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(interface="broadcast: yes"))
    assert loaded.transport.broadcast
    assert loaded.transport.mcast_address == "255.255.255.255"
    assert loaded.transport.port == 5405
    assert "totem.interface.0.mcastaddr" not in loaded.entries


def test_busy_poll(load_conf: Load, conf: Conf) -> None:
    assert load_conf(conf()).system.busy_poll_us == 0
    assert load_conf(conf(rest="system {\nbusy_poll_us: 50\n}")).system.busy_poll_us == 50
    for wrong in ("-1", "10001", "soon"):
        with pytest.raises(ConfigError, match=rf"expected an integer in range \(0..10000\), but \"{wrong}\""):
            load_conf(conf(rest=f"system {{\nbusy_poll_us: {wrong}\n}}"))


def test_front_for_corosyncs_libraries(load_conf: Load, conf: Conf) -> None:
    defaults = load_conf(conf()).system
    assert (defaults.qb_ipc, defaults.qb_ipc_type) == (True, "native")
    loaded = load_conf(conf(rest="system {\nqb_ipc: no\nqb_ipc_type: socket\n}"))
    assert (loaded.system.qb_ipc, loaded.system.qb_ipc_type) == (False, "socket")
    assert loaded.warnings == ()


def test_state_dir_and_transport_options(load_conf: Load, conf: Conf) -> None:
    text = conf(
        totem="transport: udp\ncluster_name: c\nblock_unlisted_ips: no\nnetmtu: 9000",
        interface="mcastaddr: 239.1.2.3\nmcastport: 5000\nttl: 8",
        rest="system {\nstate_dir: /srv/state\nsched_rr: no\n}",
    )
    loaded = load_conf(text)
    assert loaded.system.state_dir == "/srv/state"
    assert (loaded.transport.mcast_address, loaded.transport.port, loaded.transport.ttl) == ("239.1.2.3", 5000, 8)
    assert not loaded.transport.block_unlisted_ips
    assert loaded.totem.netmtu_bytes == 9000
    assert loaded.warnings == ()


ERRORS = [
    # (marker line, text of the line's key, words, arguments of conf)
    ("transport: knet", "totem.transport", "use transport: udp or udpu", {"totem": "transport: knet"}),
    ("transport: tcp", "totem.transport", "udp, udpu or knet", {"totem": "transport: tcp"}),
    ("totem {", "totem.transport", "means knet", {"totem": "cluster_name: c"}),
    ("crypto_cipher: rot13", "totem.crypto_cipher", "expected none", {"totem": "crypto_cipher: rot13"}),
    ("secauth: yes", "totem.secauth", "on or off", {"totem": "secauth: yes"}),
    ("token: soon", "totem.token", 'integer in range (0..4294967295), but "soon"', {"totem": "token: soon"}),
    ("token: -1", "totem.token", "(0..4294967295)", {"totem": "token: -1"}),
    ("join: 3", "totem.join", "at least 30 ms", {"totem": "transport: udpu\njoin: 3"}),
    ("token_retransmit: 29", "totem.token_retransmit", "30 ms", {"totem": "transport: udpu\ntoken_retransmit: 29"}),
    ("totem {", "totem.token_retransmit", "raise token", {"totem": "transport: udpu\ntoken_coefficient: 0\ntoken: 60"}),
    ("token_warning: 101", "totem.token_warning", "(0..100)", {"totem": "token_warning: 101"}),
    ("netmtu: 100", "totem.netmtu", "256 to 65507", {"totem": "transport: udp\ncluster_name: c\nnetmtu: 100"}),
    ("ip_version: 4", "totem.ip_version", "ipv4, ipv6, ipv4-6 or ipv6-4", {"totem": "ip_version: 4"}),
    ("totem {", "totem.cluster_name", "set cluster_name", {"totem": "transport: udp"}),
    (
        "mcastaddr: 10.0.0.9",
        "totem.interface.0.mcastaddr",
        "no multicast address",
        {"interface": "mcastaddr: 10.0.0.9"},
    ),
    ("mcastaddr: ff15::1", "totem.interface.0.mcastaddr", "IPv4 addresses", {"interface": "mcastaddr: ff15::1"}),
    ("mcastport: 0", "totem.interface.0.mcastport", "1 to 65535", {"interface": "mcastport: 0"}),
    ("mcastport: 65536", "totem.interface.0.mcastport", "(0..65535)", {"interface": "mcastport: 65536"}),
    ("ttl: 256", "totem.interface.0.ttl", "(0..255)", {"interface": "ttl: 256"}),
    ("ttl: 2", "totem.interface.0.ttl", "udp only", {"totem": "transport: udpu", "interface": "ttl: 2"}),
    ("linknumber: 1", "totem.interface.1.linknumber", "one link", {"interface": "linknumber: 1"}),
    ("broadcast: maybe", "totem.interface.0.broadcast", "yes or no", {"interface": "broadcast: maybe"}),
    ("provider: fancy", "quorum.provider", "expected corosync_votequorum", {"quorum": "provider: fancy"}),
    ("to_syslog: on", "logging.to_syslog", "yes or no", {"rest": "logging {\nto_syslog: on\n}"}),
    ("logging {", "logging.logfile", "give a path", {"rest": "logging {\nto_logfile: yes\n}"}),
    ("debug: very", "logging.debug", "on, off or trace", {"rest": "logging {\ndebug: very\n}"}),
    ("logger_subsys {", "logging.logger_subsys", "subsys", {"rest": "logging {\nlogger_subsys {\n}\n}"}),
    ("state_dir: here", "system.state_dir", "begins with /", {"rest": "system {\nstate_dir: here\n}"}),
    ("user: root", "uidgid.user", "only uid and gid", {"rest": "uidgid {\nuser: root\n}"}),
    ("uid: nobody9", "uidgid.uid", 'no user "nobody9"', {"rest": "uidgid {\nuid: nobody9\n}"}),
    ("gid: 4294967295", "uidgid.gid", "below", {"rest": "uidgid {\ngid: 4294967295\n}"}),
]


@pytest.mark.parametrize(("marker", "key", "words", "arguments"), ERRORS, ids=[f"{m}-{k}" for m, k, _, _ in ERRORS])
def test_errors_name_file_line_and_key(
    load_conf: Load, conf: Conf, marker: str, key: str, words: str, arguments: dict[str, str]
) -> None:
    text = conf(**arguments)
    line = text.split("\n").index(marker) + 1
    with pytest.raises(ConfigError) as caught:
        load_conf(text)
    assert (caught.value.file, caught.value.line, caught.value.key) == ("corosync.conf", line, key)
    assert str(caught.value).startswith(f"corosync.conf:{line}: {key}: ")
    assert words in caught.value.text


@pytest.mark.parametrize("text", ["", "totem {\n}", "nodelist {\n}", "#"])
def test_a_file_that_says_too_little(load_conf: Load, text: str) -> None:
    with pytest.raises(ConfigError, match=r"totem\.version: missing"):
        load_conf(text)


def test_version_must_be_2(load_conf: Load) -> None:
    with pytest.raises(ConfigError, match=r"corosync\.conf:2: totem\.version: .*\(2\.\.2\)"):
        load_conf("totem {\nversion: 1\n}")


def test_errors_in_uidgid_files_name_that_file(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r"^uidgid\.d/x:1: totem: only sections uidgid"):
        load_conf(conf(), files={"uidgid.d/x": "totem {\n}"})
    with pytest.raises(ConfigError, match=r"^uidgid\.d/x:2: uidgid\.uid: there is no user"):
        load_conf(conf(), files={"uidgid.d/x": "uidgid {\nuid: nobody9\n}"})


WARNINGS = [
    ("tokem: 1000", "totem.tokem", "did you mean token?", {"totem": "transport: udp\ncluster_name: c\ntokem: 1000"}),
    ("two_node: 1", "totem.two_node", "section quorum", {"totem": "transport: udp\ncluster_name: c\ntwo_node: 1"}),
    ("nodeid: 4", "totem.nodeid", "nodelist.node", {"totem": "transport: udp\ncluster_name: c\nnodeid: 4"}),
    ("rrp_mode: active", "totem.rrp_mode", "one link", {"totem": "transport: udp\ncluster_name: c\nrrp_mode: active"}),
    ("keyfile: /k", "totem.keyfile", "not sealed", {"totem": "transport: udp\ncluster_name: c\nkeyfile: /k"}),
    ("knet_mtu: 0", "totem.knet_mtu", "knet", {"totem": "transport: udp\ncluster_name: c\nknet_mtu: 0"}),
    ("token: 9000", "totem.token", "after line 4", {"totem": "transport: udpu\ntoken: 8000\ntoken: 9000"}),
    ("consensus: 999", "totem.consensus", "three or more", {"totem": "transport: udpu\nconsensus: 999"}),
    ("max_messages: 999", "totem.max_messages", "170", {"totem": "transport: udpu\nmax_messages: 999"}),
    ("bindnetaddr: 10.9.0.0", "totem.interface.0.bindnetaddr", "ring0_addr", {"interface": "bindnetaddr: 10.9.0.0"}),
    ("ringnumber: 0", "totem.interface.0.ringnumber", "linknumber", {"interface": "ringnumber: 0"}),
    (
        "mcastaddr: 239.1.1.1",
        "totem.interface.0.mcastaddr",
        "broadcast is set",
        {"interface": "broadcast: yes\nmcastaddr: 239.1.1.1"},
    ),
    (
        "mcastaddr: 239.1.1.1",
        "totem.interface.0.mcastaddr",
        "udpu",
        {"totem": "transport: udpu", "interface": "mcastaddr: 239.1.1.1"},
    ),
    (
        "move_to_root_cgroup: yes",
        "system.move_to_root_cgroup",
        "Slice=",
        {"rest": "system {\nmove_to_root_cgroup: yes\n}"},
    ),
    ("nozle {", "nozle", "did you mean nozzle?", {"rest": "nozle {\nname: x\n}"}),
    ("name: noz", "nozzle.name", "knet", {"rest": "nozzle {\nname: noz\n}"}),
    ("compatibility: whitetank", "compatibility", "unknown key", {"rest": "compatibility: whitetank"}),
    ("quorum {", "quorum.provider", "never report quorum", {"quorum": ""}),
]


@pytest.mark.parametrize(("marker", "key", "words", "arguments"), WARNINGS, ids=[w[0] for w in WARNINGS])
def test_warnings_name_line_and_key(
    load_conf: Load, conf: Conf, marker: str, key: str, words: str, arguments: dict[str, str]
) -> None:
    text = conf(**arguments)
    (warning,) = load_conf(text).warnings
    assert (warning.key, warning.line) == (key, text.split("\n").index(marker) + 1)
    assert words in warning.text
    assert str(warning).startswith(f"corosync.conf:{warning.line}: {key}: ")


@pytest.mark.parametrize("section", ["pload", "resources"])
def test_sections_of_others_get_one_warning(load_conf: Load, conf: Conf, section: str) -> None:
    loaded = load_conf(conf(rest=f"{section} {{\ncount: 1\nsystem {{\nsize: 2\nx: 3\n}}\n}}"))
    assert [warning.key for warning in loaded.warnings] == [section]
    assert loaded.entries[f"{section}.system.size"] == CmapEntry(CmapType.STRING, "2")


def test_warnings_are_bounded(load_conf: Load, conf: Conf) -> None:
    rest = "logging {\n" + "".join(f"key{number}: x\n" for number in range(5000)) + "}"
    warnings = load_conf(conf(rest=rest)).warnings
    assert len(warnings) == 201
    assert "left out" in warnings[-1].text


def test_keys_are_bounded(load_conf: Load, conf: Conf) -> None:
    rest = "logging {\n" + "".join(f"key{number}: x\n" for number in range(10_000)) + "}"
    with pytest.raises(ConfigError, match="at most 10000 are allowed"):
        load_conf(conf(rest=rest))


KEYS = """
token consensus join hold netmtu ip_version two_node auto_tie_breaker auto_tie_breaker_node votes nodeid expected_votes
wait_for_all last_man_standing window_size mcastaddr mcastport ttl broadcast bindnetaddr ring0_addr name quorum_votes
transport logfile to_logfile debug uid gid subsys linknumber crypto_cipher crypto_hash secauth keyfile cluster_id
uuid public_key join_port
"""
WORDS = ["yes", "no", "on", "off", "", "10.0.0.1", "lowest", "1 2", "aes256", "/k", "0" * 31 + "1"]
VALUES = st.one_of(st.integers(-5, 2**64).map(str), st.sampled_from(WORDS), st.text())
SETTINGS = st.lists(st.tuples(st.sampled_from(KEYS.split()), VALUES), max_size=8)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("totem", "interface", "quorum", "logging", "node"), SETTINGS)))
def test_any_values_load_or_are_a_config_error(sections: dict[str, list[tuple[str, str]]]) -> None:
    def lines(name: str) -> str:
        return "".join(f"{key}: {value}\n" for key, value in sections.get(name, []))

    text = (
        f"totem {{\nversion: 2\ntransport: udp\ncluster_name: c\n{lines('totem')}"
        f"interface {{\n{lines('interface')}}}\n}}\n"
        f"nodelist {{\nnode {{\nring0_addr: 10.0.0.1\nnodeid: 1\n{lines('node')}}}\n"
        "node {\nring0_addr: 10.0.0.2\nnodeid: 2\n}\n}\n"
        f"quorum {{\nprovider: corosync_votequorum\n{lines('quorum')}}}\nlogging {{\n{lines('logging')}}}\n"
    )

    def resolve(name: str, ip_version: str) -> list[str]:
        raise OSError("no names here")

    try:
        loaded = load(text, file="f", resolve=resolve, local_addresses=["10.0.0.1"])
    except ConfigError:
        return
    assert loaded.local in loaded.nodes
    assert loaded.quorum.expected_votes >= 1
    assert all(3 <= len(key) <= 255 for key in loaded.entries)
