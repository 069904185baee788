"""The network's state as the sum of the faults that are in force, put into each node's namespace as nftables rules."""

from collections.abc import Iterable

from totemd_chaos.schedule import Action, Fault
from totemd_lab.nodes import Node
from totemd_lab.places import run

TABLE = """\
table inet chaos
delete table inet chaos
table inet chaos {{
    chain input {{
        type filter hook input priority 0
        {rules}
    }}
}}
"""


def rules_of(node: int, address: dict[int, str], faults: Iterable[Action]) -> list[str]:
    """What the node's namespace drops of its input while these faults are in force."""
    unheard: set[int] = set()
    rules = []
    for action in faults:
        here = node in action.nodes
        if action.fault is Fault.SPLIT:
            unheard |= {peer for peer in address if (peer in action.nodes) != here}
        elif action.fault is Fault.BRIDGE and here:
            unheard |= set(action.nodes)
        elif action.fault is Fault.DEAF and node == action.nodes[0]:
            unheard.add(action.nodes[1])
        elif action.fault is Fault.LOSS and here:
            rules.append(f"meta l4proto udp numgen random mod 100 < {action.percent} counter drop")
    unheard.discard(node)
    if unheard:
        rules.append(f"ip saddr {{ {', '.join(address[peer] for peer in sorted(unheard))} }} counter drop")
    return sorted(rules)


class Network:
    """Keeps every namespace's rules as the faults in force want them."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = list(nodes)
        self._address = {node.nodeid: node.member.address for node in self._nodes}
        self._installed: dict[int, list[str]] = {node.nodeid: [] for node in self._nodes}

    def apply(self, faults: Iterable[Action]) -> None:
        """Make these the faults in force."""
        faults = list(faults)
        for node in self._nodes:
            rules = rules_of(node.nodeid, self._address, faults)
            if rules != self._installed[node.nodeid]:
                run(node.place, ["nft", "-f", "-"], text_in=TABLE.format(rules="\n        ".join(rules)))
                self._installed[node.nodeid] = rules
