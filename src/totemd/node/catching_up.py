"""A managed, sealed node's surroundings of catching up: between the seal's control messages and the service "changes".

seal: this node's configuration is the older one -> CatchUp asks a member -> Changes.catch_up
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from totemd.cluster.catchup import CatchUp
from totemd.cluster.handover import Handover
from totemd.cluster.identity import Identity
from totemd.errors import BadPacket
from totemd.ids import NodeId
from totemd.seal import Credentials, Reason, Verdict
from totemd.services.changes.api import Outcome

if TYPE_CHECKING:
    from totemd.node.node import Node

_TIMER: Final = "catching up"


class CatchingUp:
    """Made for a node that has both `sealing` and `changes`."""

    def __init__(self, node: "Node", identity: Identity | None, random_bytes: Callable[[int], bytes]) -> None:
        sealing, changes = node.sealing, node.changes
        assert sealing is not None
        assert changes is not None
        self._node = node
        self._sealing = sealing
        self._changes = changes
        self.machine = CatchUp(
            self,
            cluster_id=sealing.admission.cluster_id,
            nodeid=node.nodeid,
            identity=identity,
            random_bytes=random_bytes,
        )
        self._refused = sealing.seal.on_refused
        self._judged = sealing.seal.on_judged
        sealing.seal.on_control = self._heard
        sealing.seal.on_refused = self._was_refused
        sealing.seal.on_judged = self._has_judged

    # What the seal tells

    def _heard(self, nodeid: NodeId, body: bytes, shown: Credentials) -> None:
        try:
            self.machine.hear(nodeid, body, self._node.now)
        except BadPacket as problem:
            self._sealing.dropped[problem.reason] += 1
        self._wait()

    def _was_refused(self, nodeid: NodeId, verdict: Verdict) -> None:
        self._refused(nodeid, verdict)
        if verdict.reason is Reason.STALE:
            # How much newer it is, it will say itself.
            self.machine.behind(nodeid, self.version + 1, self._node.now)
            self._wait()

    def _has_judged(self, nodeid: NodeId, shown: Credentials, verdict: Verdict) -> None:
        self._judged(nodeid, shown, verdict)
        if verdict.reason is Reason.NEWER:
            self.machine.behind(nodeid, shown.config_version, self._node.now)
            self._wait()

    def _wait(self) -> None:
        self._node.timers.set(_TIMER, self.machine.next_deadline(), self._due)

    def _due(self) -> None:
        self.machine.handle_timer(self._node.now)
        self._wait()

    # cluster.catchup.Surroundings

    @property
    def version(self) -> int:
        # Not the ledger's: what was adopted is shown to nobody before it is in force.
        return self._node.configuration.config_version

    def send(self, nodeid: NodeId, body: bytes) -> None:
        self._sealing.send_control(nodeid, body)

    def public_key(self, nodeid: NodeId) -> bytes | None:
        entry = self._node.configuration.node(nodeid)
        return None if entry is None else entry.public_key

    def handover(self) -> Handover | None:
        return Handover(self._changes.record_for(0), self._sealing.seal.keys.to_bytes())

    def take(self, nodeid: NodeId, handed: Handover) -> int:
        def done(outcome: Outcome) -> None:
            if not outcome.accepted:
                self.log("err", f"what node {nodeid} handed over is not taken: {outcome.why}")

        try:
            return self._changes.catch_up(handed.record, handed.key_ring, done)
        except BadPacket as problem:
            self.log("err", f"what node {nodeid} handed over cannot be used: {problem}")
            return 0

    def log(self, level: str, text: str) -> None:
        self._node.log(level, "CHANGES", text)
