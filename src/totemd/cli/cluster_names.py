"""`totemctl cluster mcast-addr`: the addresses that follow from clusters' names, and which names collide."""

import sys
from argparse import Namespace

from totemd.cli.commands_ring import print_json
from totemd.config.addresses import multicast_address
from totemd.config.parser import FILE_SIZE_MAX, parse, value_of
from totemd.errors import ConfigError


def mcast_addr(arguments: Namespace) -> int:
    """`totemctl cluster mcast-addr NAME [OTHER ...]`: exit status 1 if names collide."""
    others = list(dict.fromkeys(arguments.others))
    own = _configured_name(arguments.config)
    if own is not None and own not in (arguments.name, *others) and _collide(own, arguments.name):
        others.append(own)
    found = [(name, *_addresses(name)) for name in (arguments.name, *others)]
    collisions = [name for name in others if name != arguments.name and _collide(name, arguments.name)]
    if arguments.json:
        keys = ("name", "ipv4", "ipv6")
        clusters = [dict(zip(keys, cluster, strict=True)) for cluster in found]
        print_json({"clusters": clusters, "collisions": collisions})
    else:
        for name, ipv4, ipv6 in found:
            print(f"{name}: {ipv4}  {ipv6}" if len(found) > 1 else f"{ipv4}\n{ipv6}")
    for name in collisions:
        print(
            f"totemctl: {arguments.name!r} and {name!r} have the same address: in one network they hear each other. "
            "Give one of them another name, or set mcastaddr in its configuration",
            file=sys.stderr,
        )
    return 1 if collisions else 0


def _addresses(name: str) -> tuple[str, str]:
    return multicast_address(name), multicast_address(name, ipv6=True)


def _collide(one: str, other: str) -> bool:
    return bool(set(_addresses(one)) & set(_addresses(other)))


def _configured_name(path: str) -> str | None:
    """The name in this node's own configuration, if it has one that can be read."""
    try:
        with open(path, "rb") as opened:
            text = opened.read(FILE_SIZE_MAX).decode()
        root = parse(text, path)
    except (OSError, UnicodeDecodeError, ConfigError):
        return None
    return value_of(root, "totem", "cluster_name")
