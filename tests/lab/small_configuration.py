"""A checked configuration of a few nodes, without a file and without a machine that has their addresses."""

from totemd.config import Configuration, load


def small_text(
    *addresses: str, totem: str = "", interface: str = "", quorum: str = "", logging: str = "", transport: str = "udpu"
) -> str:
    """A corosync.conf; the arguments are further lines of its sections."""
    nodes = "".join(
        f"node {{\nring0_addr: {address}\nnodeid: {nodeid}\nname: n{nodeid}\n}}\n"
        for nodeid, address in enumerate(addresses, 1)
    )
    return (
        f"totem {{\nversion: 2\ncluster_name: small\ntransport: {transport}\n{totem}\n"
        f"interface {{\nlinknumber: 0\n{interface}\n}}\n}}\n"
        f"nodelist {{\n{nodes}}}\n"
        f"quorum {{\nprovider: corosync_votequorum\n{quorum}\n}}\n"
        f"logging {{\nto_syslog: no\n{logging}\n}}\n"
        "system {\nsched_rr: no\n}\n"
    )


def small_configuration(
    *addresses: str,
    local: str = "",
    totem: str = "",
    interface: str = "",
    quorum: str = "",
    logging: str = "",
    transport: str = "udpu",
) -> Configuration:
    """Nodes 1, 2 ... at `addresses`; we are the one at `local`, or the first."""
    text = small_text(*addresses, totem=totem, interface=interface, quorum=quorum, logging=logging, transport=transport)
    here = local or addresses[0]
    return load(
        text, file="corosync.conf", resolve=lambda name, version: [], local_addresses=[here], local_override=here
    )
