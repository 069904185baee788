"""Who may be in a sealed ring: what a node shows of itself, and what is said to what others show.

A node is judged before its first packet counts, so that who is refused costs the others nothing: no membership
changes. Who belongs to the cluster follows from the configuration alone; in a managed cluster, whose configuration is
replicated, identity and version are compared as well (protocol/, chapter "Sealed datagrams").
"""

from typing import Final

from totemd.config.model import Configuration, RemovedNode
from totemd.seal.messages import Credentials
from totemd.seal.verdict import ADMITTED, Reason, Verdict, refused

UNKNOWN_DIGEST: Final = bytes(16)
NO_UUID: Final = bytes(16)

FEATURES: Final = 0
"""Bits of what every member must know of; what may be used where all know it is agreed on in other ways."""


class Admission:
    """Judges for one node, by its configuration."""

    def __init__(self, configuration: Configuration, cluster_id: bytes) -> None:
        self.configuration = configuration
        self.cluster_id = cluster_id
        self.digest = UNKNOWN_DIGEST
        """Of what all nodes' configurations have in common, where somebody knows it."""

    def credentials(self) -> Credentials:
        """What this node shows of itself."""
        configuration = self.configuration
        local = configuration.local
        return Credentials(
            cluster_id=self.cluster_id,
            uuid=NO_UUID if local.uuid is None else bytes.fromhex(local.uuid),
            nodeid=local.nodeid,
            name=local.name or "",
            config_version=configuration.config_version,
            config_digest=self.digest,
            features=FEATURES,
        )

    def judge(self, shown: Credentials) -> Verdict:
        """Whether who shows this may be in the ring, or why not and what to do about it."""
        mine = self.configuration
        if shown.cluster_id != self.cluster_id:
            return refused(
                Reason.OTHER_CLUSTER,
                f"belongs to another cluster than {mine.cluster_name}",
                "give the two clusters different keys, ports or multicast addresses",
            )
        removed = self._tombstone(shown)
        if removed is not None:
            return refused(
                Reason.REMOVED,
                f"was removed from the cluster in configuration version {removed.version}",
                "to have the machine back, let it join as a new node: totemctl cluster invite, totemctl cluster join",
            )
        entry = mine.node(shown.nodeid)
        if entry is None:
            return self._unlisted(shown)
        if entry.uuid is not None and shown.uuid != bytes.fromhex(entry.uuid):
            return refused(
                Reason.WRONG_IDENTITY,
                f"is not the machine that the nodelist has as node {shown.nodeid}",
                "is this a copy of another node's disk? let it join as a new node",
            )
        if shown.features & FEATURES != FEATURES:
            return refused(Reason.FEATURES, "lacks what this version of totemd needs", "install the same version there")
        return ADMITTED if mine.cluster_id is None else self._version(shown)

    def _tombstone(self, shown: Credentials) -> RemovedNode | None:
        uuid = shown.uuid.hex()
        for removed in self.configuration.removed:
            if removed.nodeid == shown.nodeid or removed.uuid == uuid:
                return removed
        return None

    def _unlisted(self, shown: Credentials) -> Verdict:
        mine = self.configuration
        if mine.cluster_id is not None and shown.config_version > mine.config_version:
            # It may well be listed by now: it is we who have to learn.
            return self._version(shown)
        remedy = "list it on all nodes and reload" if mine.cluster_id is None else "let it join: totemctl cluster join"
        return refused(Reason.UNLISTED, f"node {shown.nodeid} is not in the nodelist", remedy)

    def _version(self, shown: Credentials) -> Verdict:
        theirs, mine = shown.config_version, self.configuration.config_version
        if theirs < mine:
            return refused(
                Reason.STALE,
                f"has version {theirs} of the configuration, and the cluster has version {mine}",
                "it fetches the newer one by itself",
            )
        if theirs > mine:
            return refused(
                Reason.NEWER,
                f"has version {theirs} of the configuration, and this node has version {mine}",
                "this node fetches the newer one by itself",
            )
        if UNKNOWN_DIGEST not in (self.digest, shown.config_digest) and self.digest != shown.config_digest:
            return refused(
                Reason.CONFLICT,
                f"has another configuration of the same version {mine}",
                "compare the two: totemctl cluster config diff; then apply the right one on the node that is to change",
            )
        return ADMITTED
