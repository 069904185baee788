"""Transport, multicast address, port and TTL from the sections totem and totem.interface."""

from totemd.config.addresses import may_be_network_of, multicast_address, numeric
from totemd.config.document import Document, Table
from totemd.config.model import NodeEntry, TransportKind, TransportSettings

DEFAULT_PORT = 5405
BROADCAST_ADDRESS = "255.255.255.255"


def check_version(document: Document) -> None:
    """`totem.version` must be given. Raises ConfigError; what it may be is the schema's business."""
    totem = document.table("totem")
    if "version" not in totem.values:
        raise totem.error("version", "missing; write version: 2 in section totem")


def transport_kind(document: Document) -> TransportKind:
    """The transport, or ConfigError: absence means knet in corosync, which totemd does not speak."""
    totem = document.table("totem")
    word = totem.text("transport")
    if word is None:
        raise totem.error(
            "transport", "missing, which means knet; totemd does not speak knet: use transport: udp or udpu"
        )
    if word == "knet":
        raise totem.error("transport", 'found "knet", which totemd does not speak; use transport: udp or udpu')
    return TransportKind(word)


def read_transport(document: Document, kind: TransportKind, local: NodeEntry) -> TransportSettings:
    """Where datagrams go. Raises ConfigError."""
    _check_links(document)
    interface = document.table("totem.interface.0")
    ipv6 = ":" in local.address
    broadcast = interface.flag("broadcast") and kind is TransportKind.UDP
    if kind is TransportKind.UDPU:
        _check_udpu(document, interface)
    port = interface.number("mcastport")
    if port == 0:
        raise interface.error("mcastport", "found 0; give a port from 1 to 65535, or leave it out for 5405")
    ttl = interface.number("ttl")
    _check_bind_address(document, interface, local)
    return TransportSettings(
        kind=kind,
        local_address=local.address,
        ipv6=ipv6,
        port=DEFAULT_PORT if port is None else port,
        mcast_address=_multicast_address(document, interface, broadcast, ipv6) if kind is TransportKind.UDP else None,
        broadcast=broadcast,
        ttl=1 if ttl is None else ttl,
        block_unlisted_ips=document.table("totem").flag("block_unlisted_ips", True),
    )


def _check_links(document: Document) -> None:
    for path, table in document.tables.items():
        if path.startswith("totem.interface.") and path != "totem.interface.0" and "linknumber" in table.values:
            number = table.number("linknumber")
            raise table.error("linknumber", f"found {number}; transports udp and udpu have one link, number 0")


def _check_udpu(document: Document, interface: Table) -> None:
    ttl = interface.number("ttl")
    if ttl not in (None, 1):
        raise interface.error("ttl", f"found {ttl}; ttl is for transport udp only, remove it")
    for key in ("mcastaddr", "broadcast"):
        if key in interface.values and interface.text(key) != "no":
            document.warn(interface.warning(key, "not obeyed: transport udpu sends to each node alone; remove it"))


def _check_bind_address(document: Document, interface: Table, local: NodeEntry) -> None:
    given = interface.text("bindnetaddr")
    if given is not None and not may_be_network_of(given, local.address):
        text = f'found "{given}", which does not fit this node\'s ring0_addr {local.address}; ring0_addr is used'
        document.warn(interface.warning("bindnetaddr", text))


def _multicast_address(document: Document, interface: Table, broadcast: bool, ipv6: bool) -> str:
    given = interface.text("mcastaddr")
    if broadcast:
        if ipv6:
            raise interface.error("broadcast", "IPv6 has no broadcast; remove it to use multicast")
        if given is not None:
            document.warn(interface.warning("mcastaddr", "not obeyed: broadcast is set; remove one of the two"))
        return BROADCAST_ADDRESS
    if given is None:
        totem = document.table("totem")
        name = totem.text("cluster_name")
        if not name:
            text = (
                "missing, and there is no mcastaddr in totem.interface: it is derived from the name; set cluster_name"
            )
            raise totem.error("cluster_name", text)
        return multicast_address(name, ipv6=ipv6)
    address = numeric(given)
    if address is None or not address.is_multicast:
        allowed = "ff00::/8" if ipv6 else "224.0.0.0 to 239.255.255.255"
        raise interface.error("mcastaddr", f'found "{given}", which is no multicast address; allowed are {allowed}')
    if (address.version == 6) != ipv6:
        family = "IPv6" if ipv6 else "IPv4"
        raise interface.error("mcastaddr", f'found "{given}", but the nodes have {family} addresses; use one family')
    return str(address)
