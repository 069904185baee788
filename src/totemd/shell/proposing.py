"""Changes of the configuration that this node's own tasks propose, one attempt after the other until one is decided."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import trio

from totemd.cluster.boxes import seal_boxes
from totemd.cluster.change import ROLLBACK_AFTER_DEFAULT_S, Change, Kind, box_context, clipped
from totemd.cluster.identity import Identity
from totemd.errors import BadPacket, OperatorError
from totemd.ids import NodeId
from totemd.node import Node
from totemd.seal.keys import KeyRing, new_key
from totemd.services.changes.api import Outcome
from totemd.services.changes.service import Changes

ATTEMPTS_MAX: Final = 8
PAUSE_S: Final = 0.25
"""Attempts that fail because something else changed first, and the time between them, growing."""

Compose = Callable[[Change], str]
"""The new text, from the committed change. OperatorError: it cannot be made (any more)."""


class Proposer:
    """One per managed node."""

    def __init__(self, node: Node, changes: Changes, pump: Callable[[], None], identity: Identity | None) -> None:
        self._node = node
        self._changes = changes
        self._pump = pump
        self._identity = identity

    async def propose(
        self,
        kind: Kind,
        compose: Compose,
        *,
        who: str,
        what: str | Callable[[], str],
        new_key_without: NodeId | None = None,
        rollback_after_s: int = ROLLBACK_AFTER_DEFAULT_S,
    ) -> Outcome:
        """Propose what `compose` makes, again if something else was committed first. OperatorError of `compose`.

        `what` may be a function, called when the text is made. With `new_key_without` a new key comes with the change,
        for every node but that one.
        """
        for attempt in range(1, ATTEMPTS_MAX + 1):
            base = self._changes.current()
            text = compose(base)
            change = Change(
                ident=os.urandom(16),
                kind=kind,
                base_version=base.version,
                version=0,
                text=text,
                who=clipped(who, 256),
                when=int(time.time()),
                what=clipped(what if isinstance(what, str) else what()),
                rollback_after_s=rollback_after_s,
                proposer=self._node.nodeid,
            )
            if new_key_without is not None:
                change = await self._with_new_key(change, new_key_without)
            outcome = await self._decided(change)
            superseded = self._changes.current().version != base.version
            if outcome.accepted or outcome.undecided or not outcome.quorate or not superseded:
                return outcome
            await trio.sleep(attempt * PAUSE_S)
        return outcome

    async def _decided(self, change: Change) -> Outcome:
        decided = trio.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            decided.set()

        self._node.set_time(trio.current_time())
        self._changes.propose(change, done)
        self._pump()
        await decided.wait()
        return outcomes[0]

    async def _with_new_key(self, change: Change, without: NodeId) -> Change:
        sealing, configuration = self._node.sealing, self._node.configuration
        if sealing is None or configuration.cluster_id is None:
            return change
        if self._identity is None:
            raise OperatorError("this node has no identity, so it cannot hand a new key to the others")
        keys: KeyRing = sealing.seal.keys.sending_with(new_key(os.urandom))
        recipients: Mapping[NodeId, bytes] = {
            node.nodeid: node.public_key
            for node in configuration.nodes
            if node.public_key is not None and node.nodeid != without
        }
        context = box_context(configuration.cluster_id, change)
        # Half a millisecond for each node: too long for the token to wait.
        try:
            boxes = await trio.to_thread.run_sync(
                seal_boxes, self._identity, recipients, keys.to_bytes(), context, os.urandom
            )
        except BadPacket as error:
            raise OperatorError(
                f"the nodelist has a public_key that is none, so there can be no new key for that node: {error}"
            ) from None
        return replace(change, boxes=boxes)


def explained(outcome: Outcome, names: Callable[[NodeId], str]) -> str:
    """Why a change was not made, for people."""
    reasons = [f"{names(nodeid)}: {reason}" for nodeid, reason in sorted(outcome.reasons.items())]
    return "; ".join([*([outcome.why] if outcome.why else []), *reasons]) or "it was not accepted"
