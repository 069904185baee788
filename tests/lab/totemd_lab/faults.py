"""What is done to a node's network: nftables rules inside its own namespace."""

from collections.abc import Iterable

from totemd_lab.nodes import Node
from totemd_lab.places import run

TABLE = """\
table inet lab
delete table inet lab
table inet lab {{
    chain input {{
        type filter hook input priority 0
        {rule}
    }}
}}
"""


def drop_multicasts(node: Node, percent: int) -> None:
    """Let a random share of the UDP multicasts that reach the node vanish."""
    chance = f"numgen random mod 100 < {percent} " if percent < 100 else ""
    _install(node, f"ip daddr 224.0.0.0/4 meta l4proto udp {chance}counter drop")


def drop_everything_from(node: Node, addresses: Iterable[str]) -> None:
    """Cut the node off from these peers (one direction)."""
    _install(node, f"ip saddr {{ {', '.join(addresses)} }} counter drop")


def partition(one: Iterable[Node], other: Iterable[Node]) -> None:
    """Cut the network in two: nothing passes between the sides."""
    one, other = list(one), list(other)
    for side, far in ((one, other), (other, one)):
        for node in side:
            drop_everything_from(node, [peer.member.address for peer in far])


def dropped_packets(node: Node) -> int:
    """How many packets the node's rule has dropped so far."""
    words = run(node.place, ["nft", "list", "table", "inet", "lab"]).stdout.split()
    return int(words[words.index("packets") + 1])


def heal(node: Node) -> None:
    """Remove the node's rule, if it has one."""
    run(node.place, ["nft", "-f", "-"], text_in="table inet lab\ndelete table inet lab\n")


def _install(node: Node, rule: str) -> None:
    run(node.place, ["nft", "-f", "-"], text_in=TABLE.format(rule=rule))
