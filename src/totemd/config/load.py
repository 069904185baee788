"""A configuration from a file's text: syntax, schema, and the rules between values, in that order.

No IO: the text, the resolver of names and the machine's addresses are arguments, so that the daemon, `totemd -t`, tests
and simulations run the same checks.
"""

from collections.abc import Callable, Collection, Mapping

from totemd.config import timing
from totemd.config.document import Document
from totemd.config.entries import lines_of, read_entries
from totemd.config.identity import read_cluster_id, read_removed
from totemd.config.logs import read_logging, read_system
from totemd.config.model import JOIN_PORT_DEFAULT, Configuration, TotemParameters
from totemd.config.nodes import find_local, read_nodes
from totemd.config.quorum import read_quorum
from totemd.config.sealing import read_seal
from totemd.config.transport import check_version, read_transport, transport_kind
from totemd.config.uidgid import read_access
from totemd.limits import NET_MTU_DEFAULT

NETMTU_MIN = 256
NETMTU_MAX = 65507
"""Bytes of `totem.netmtu`: two headers and a useful payload; what one UDP datagram carries over IPv4."""

_NO_FILES: dict[str, str] = {}


def load(
    text: str,
    *,
    file: str,
    resolve: Callable[[str, str], list[str]],
    local_addresses: Collection[str],
    hostname: str = "",
    local_override: str | None = None,
    uidgid_files: Mapping[str, str] = _NO_FILES,
    resolve_user: Callable[[str], int] | None = None,
    resolve_group: Callable[[str], int] | None = None,
) -> Configuration:
    """Read and check `text`, the contents of `file`. Raises ConfigError: file, line, key, what is wrong, what to do.

    `resolve(name, ip_version)` gives the numeric addresses of a name (ip_version as in corosync.conf(5)) or raises
    OSError; numeric addresses are not looked up. `local_addresses` are the numeric addresses of this machine's
    interfaces. `local_override` (--node) names this node by its name, id or address where that is ambiguous.
    `uidgid_files` maps names of files in uidgid.d to their texts; `resolve_user` and `resolve_group` give a name's
    number or raise KeyError, and without them only numbers are accepted.
    """
    document = Document(text, file)
    check_version(document)
    kind = transport_kind(document)
    nodes = read_nodes(document, resolve)
    removed = read_removed(document, nodes, local_override)
    local = find_local(document, nodes, local_addresses, hostname, local_override)
    transport = read_transport(document, kind, local)
    seal = read_seal(document)
    totem, times = _read_totem(document, len(nodes))
    quorum = read_quorum(document, nodes, local)
    access = read_access(document, uidgid_files, resolve_user or _nobody, resolve_group or _nobody)
    section = document.table("totem")
    return Configuration(
        file=file,
        cluster_name=section.text("cluster_name") or "",
        config_version=section.number("config_version") or 0,
        nodes=nodes,
        local=local,
        totem=totem,
        transport=transport,
        quorum=quorum,
        logging=read_logging(document),
        system=read_system(document),
        access=access,
        entries=read_entries(document, nodes, local, transport, times, access),
        warnings=tuple(document.warnings),
        lines=lines_of(document),
        cluster_id=read_cluster_id(document),
        seal=seal,
        removed=removed,
        join_port=section.number("join_port") or JOIN_PORT_DEFAULT,
    )


def _nobody(name: str) -> int:
    raise KeyError(name)


def _read_totem(document: Document, node_count: int) -> tuple[TotemParameters, dict[str, int]]:
    section = document.table("totem")
    raw = {key: number for key in section.values if (number := section.number(key)) is not None}
    netmtu = raw.get("netmtu", 0) or NET_MTU_DEFAULT
    if not NETMTU_MIN <= netmtu <= NETMTU_MAX:
        raise section.error("netmtu", f"found {netmtu}; allowed are {NETMTU_MIN} to {NETMTU_MAX} bytes, 0 for 1500")
    times = timing.derive(raw, node_count)
    for key, text in timing.problems(times, raw):
        raise section.error(key, text)
    for key, text in timing.doubts(times, netmtu, node_count):
        document.warn(section.warning(key, text))
    cancel = section.flag("cancel_token_hold_on_retransmit")
    direct = section.flag("direct_token", default=True)
    return timing.parameters(times, netmtu=netmtu, cancel_hold=cancel, direct_token=direct), times
