"""Whether a node may be taken out of the cluster, and the configuration's text without it."""

from collections.abc import Collection, Sequence
from typing import Final

from totemd.cluster.nodelist_text import remove_node
from totemd.config.model import Configuration, NodeEntry
from totemd.errors import OperatorError
from totemd.ids import NodeId
from totemd.record import record

_SHOWN_MAX: Final = 20


class NodeRuns(OperatorError):
    """The node that is to be removed is a member, and nobody said that it is to be ended first."""


@record
class Removal:
    """A node to be taken out."""

    nodeid: NodeId
    name: str
    is_member: bool

    def edit(self, text: str, version: int) -> str:
        """The text of the configuration, which is to be that version, without the node. OperatorError."""
        return remove_node(text, self.nodeid, version)


def find_listed(configuration: Configuration, wanted: str) -> NodeEntry:
    """The listed node whose name or id is `wanted`. OperatorError that lists all, or tells what became of it."""
    found = [node for node in configuration.nodes if wanted in (node.name, str(node.nodeid))]
    if len(found) == 1:
        return found[0]
    if found:
        raise OperatorError(f'"{wanted}" is the name of one node and the id of another; rename one first')
    for tomb in configuration.removed:
        if wanted in (tomb.name, str(tomb.nodeid)):
            raise OperatorError(f"node {wanted} was removed already, in version {tomb.version} of the configuration")
    raise OperatorError(f'"{wanted}" is no node of this cluster; there are: {_listed(configuration.nodes)}')


def plan_removal(
    configuration: Configuration, members: Collection[NodeId], me: NodeId, wanted: str, *, force: bool
) -> Removal:
    """What is to be done to remove `wanted`. OperatorError if it is this node or no node; NodeRuns."""
    node = find_listed(configuration, wanted)
    name = node.name or node.address
    if node.nodeid == me:
        raise OperatorError(
            f"{name} is this node. To take it out of the cluster: totemctl cluster leave, here; or remove it on another"
        )
    runs = node.nodeid in members
    if runs and not force:
        raise NodeRuns(
            f"{name} is a member now. Stop its daemon first, or run totemctl cluster leave there; --force ends it"
        )
    return Removal(node.nodeid, name, runs)


def plan_leaving(configuration: Configuration) -> Removal:
    """What is to be done for this node to leave. OperatorError if it is the only one."""
    local = configuration.local
    if len(configuration.nodes) == 1:
        raise OperatorError(
            "this is the cluster's only node, so there is nobody to leave; stop the daemon, and put its files aside "
            "with totemctl cluster separate"
        )
    return Removal(local.nodeid, local.name or local.address, is_member=True)


def _listed(nodes: Sequence[NodeEntry]) -> str:
    words = [f"{node.name or node.address} ({node.nodeid})" for node in nodes[:_SHOWN_MAX]]
    return ", ".join(words) + (f" and {len(nodes) - _SHOWN_MAX} more" if len(nodes) > _SHOWN_MAX else "")
