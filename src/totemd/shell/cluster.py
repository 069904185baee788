"""A managed node's part in its cluster's membership: invites, lets in, counts, removes, leaves, and answers probes.

totemctl -> ipc -> ClusterFront -> Proposer -> service "changes"
a joining node -> JoinServer -> Sponsor ---^
membership, configuration -> Completing ---^
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import trio

from totemd.cluster.change import Change, Kind
from totemd.cluster.completing import Completing, Completion, Overtaken
from totemd.cluster.joining import Sponsor, SponsorAction
from totemd.cluster.nodelist_text import check_node_name, mark_leaving, set_votes
from totemd.cluster.probe import MAGIC, PROBE_ID_SIZE, ProbeOrder, Responder, probe_key, targets
from totemd.cluster.removal import Removal, plan_leaving, plan_removal
from totemd.cluster.tickets import Tickets
from totemd.config.model import Configuration, TransportKind
from totemd.errors import Code, OperatorError, ServiceError
from totemd.ids import NodeId
from totemd.ipc.cluster_requests import Done
from totemd.node import Node
from totemd.node.effects import SendNow
from totemd.services.changes.api import Outcome
from totemd.services.changes.service import Changes
from totemd.services.quorum import MODEL_MEMBERSHIP
from totemd.shell.answering import answer
from totemd.shell.invitations import Invitations
from totemd.shell.proposing import Proposer, explained

KILL_PATIENCE_S: Final = 15.0
"""How long a member that is to be removed by force may take to be gone."""

LEAVE_PAUSE_S: Final = 0.2
"""From the change by which this node leaves to its end: whoever asked for it is told first."""

SYNC_PATIENCE_S: Final = 5.0
"""How long a request may wait for a ring that is forming."""

NO_QUORUM: Final = Code.NO_RESOURCES
"""What a client is told for lack of quorum."""


class ClusterFront:
    """One per managed node; `ipc.cluster_requests.ClusterPort` for clients, `cluster.joining.ClusterView` for joins."""

    def __init__(
        self,
        node: Node,
        changes: Changes,
        state_dir: Path,
        proposer: Proposer,
        pump: Callable[[], None],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """MachineError if the tickets cannot be read."""
        self._node = node
        self._changes = changes
        self._random_bytes = random_bytes
        self._pump = pump
        self._proposer = proposer
        self._completing = Completing(node.nodeid)
        self._may_change = False
        self._news = trio.Event()
        self._invitations = Invitations(
            state_dir,
            where=lambda: (self.configuration.local.address, self.configuration.join_port),
            new_sponsor=lambda tickets: self._new_sponsor(tickets),
            carry=self._carry,
            log=self._log,
        )
        cluster_id = node.configuration.cluster_id
        assert cluster_id is not None, "managed"
        self._cluster_id = cluster_id
        self._responder = Responder(node.nodeid, cluster_id, self._secrets)
        if node.sealing is not None:
            node.sealing.on_stranger = self._stranger
        node.quorum.track_start(self, MODEL_MEMBERSHIP, current=False, changes=True)

    async def run(self, nursery: trio.Nursery) -> None:
        """Serve until cancelled; what takes time goes into `nursery`."""
        self._nursery = nursery
        nursery.start_soon(self._invitations.run)
        await self._complete()

    def push(self, event: object) -> None:
        """Membership or quorum has changed."""
        self.notice()

    def notice(self) -> None:
        """Membership, quorum or configuration has changed."""
        self._news.set()
        self._news = trio.Event()

    # What clients ask for

    def invite(self, ttl_s: int, node_name: str | None, votes: int, done: Done) -> None:
        async def invite() -> dict[str, object]:
            if node_name is not None:
                check_node_name(node_name)
            await self._check_quorum()
            ticket = await self._invitations.invite(self.configuration.cluster_name, ttl_s, node_name, votes)
            contacts = [list(contact) for contact in ticket.contacts]
            return {"ticket": ticket.to_text(), "expires": ticket.expires, "contacts": contacts}

        self._answer(invite, done)

    def remove(self, node: str, force: bool, who: str, done: Done) -> None:
        async def remove() -> dict[str, object]:
            await self._check_quorum()
            plan = plan_removal(self.configuration, self._members(), self._node.nodeid, node, force=force)
            await self._lower_votes("remove", plan, who)
            if plan.is_member:
                return await self._end_member(plan, who)
            return await self._take_out("remove", plan, who, f"node {plan.nodeid} ({plan.name}) is removed")

        self._answer(remove, done)

    def leave(self, who: str, done: Done) -> None:
        async def leave() -> dict[str, object]:
            await self._check_quorum()
            plan = plan_leaving(self.configuration)
            await self._lower_votes("leave", plan, who)
            what = f"node {plan.nodeid} ({plan.name}) leaves"
            outcome = await self._proposer.propose(
                "leave", lambda base: mark_leaving(base.text, plan.nodeid), who=who, what=what
            )
            self._check_accepted(outcome)
            self._nursery.start_soon(self._end)
            return self._done(plan, outcome.version)

        self._answer(leave, done)

    async def _end(self) -> None:
        """This node's part is over; the others take it out when it is gone."""
        await trio.sleep(LEAVE_PAUSE_S)
        self._node.leave(trio.current_time(), "this node has left the cluster")
        self._pump()

    def _answer(self, work: Callable[[], Awaitable[dict[str, object]]], done: Done) -> None:
        self._nursery.start_soon(answer, self._node, self._pump, work, done)

    def _done(self, plan: Removal, version: int) -> dict[str, object]:
        sealed = self.configuration.seal is not None
        return {"nodeid": plan.nodeid, "name": plan.name, "version": version, "sealed": sealed}

    async def _take_out(self, kind: Kind, plan: Removal, who: str, what: str) -> dict[str, object]:
        def compose(base: Change) -> str:
            return plan.edit(base.text, base.version + 1)

        outcome = await self._proposer.propose(kind, compose, who=who, what=what, new_key_without=plan.nodeid)
        self._check_accepted(outcome)
        return self._done(plan, outcome.version)

    async def _lower_votes(self, kind: Kind, plan: Removal, who: str) -> None:
        """Take all votes of a node but one, one by one, so that each majority has a node of the one before."""
        while (node := self.configuration.node(plan.nodeid)) is not None and node.quorum_votes > 1:
            votes = node.quorum_votes - 1
            what = f"node {plan.nodeid} ({plan.name}) has {votes} vote{'' if votes == 1 else 's'} left"
            compose = partial(_with_votes, plan.nodeid, votes)
            outcome = await self._proposer.propose(kind, compose, who=who, what=what)
            self._check_accepted(outcome)

    async def _end_member(self, plan: Removal, who: str) -> dict[str, object]:
        """Have a member gone and taken out. Its votes go first, for with it the quorum might go."""
        what = f"node {plan.nodeid} ({plan.name}) is told to end, to be removed"
        outcome = await self._proposer.propose(
            "remove", lambda base: mark_leaving(base.text, plan.nodeid), who=who, what=what
        )
        self._check_accepted(outcome)
        self._node.set_time(trio.current_time())
        self._node.cfg.kill_node(plan.nodeid, "is removed from the cluster")
        self._pump()
        # The acting member takes it out as soon as it is gone.
        with trio.move_on_after(KILL_PATIENCE_S):
            while self.configuration.node(plan.nodeid) is not None:
                news = self._news
                with trio.move_on_after(1.0):
                    await news.wait()
        if self.configuration.node(plan.nodeid) is not None:
            raise OperatorError(
                f"{plan.name} has no votes any more and was told to end, but is still there; switch the machine off: "
                "it is taken out as soon as it is gone"
            )
        return self._done(plan, self._changes.current().version)

    # What joins need to know

    @property
    def configuration(self) -> Configuration:
        """The one in force."""
        return self._node.configuration

    @property
    def text(self) -> str:
        """Its text."""
        return self._changes.current().text

    @property
    def quorate(self) -> bool:
        """Whether this node's component may change the configuration, or might before the ring that is forming: changes
        wait for that one."""
        if not self._node.sync_in_progress:
            self._may_change = not self._changes.obstacle()
        return self._may_change

    def record(self) -> bytes:
        """The committed change, for a joiner's state; without boxes, of which none is for it."""
        return replace(self._changes.current(), boxes={}).encode()

    def key_ring(self) -> bytes:
        """What goes into the joiner's key file; nothing in an open cluster."""
        # Not the retired keys: with them it could read what was said before its time.
        if self._node.sealing is None:
            return b""
        return replace(self._node.sealing.seal.keys, retired=()).to_bytes()

    def probe_order(self) -> ProbeOrder:
        """A fresh order to probe the members that are present."""
        configuration = self.configuration
        settings = configuration.transport
        probe_id = self._random_bytes(PROBE_ID_SIZE)
        members = set(self._members()) if self._node.sealing is not None else set()
        listed = [(node.nodeid, node.name, node.address) for node in configuration.nodes if node.nodeid in members]
        size = min(configuration.totem.netmtu_bytes, 65507) - (48 if settings.ipv6 else 28)
        secret = next(iter(self._secrets()), b"")
        return ProbeOrder(
            probe_id=probe_id,
            key=probe_key(secret, self._cluster_id, probe_id),
            port=settings.port,
            mcast_address=settings.mcast_address if settings.kind is TransportKind.UDP else None,
            ttl=settings.ttl,
            size_bytes=size,
            members=targets(listed),
        )

    def _new_sponsor(self, tickets: Tickets) -> Sponsor:
        return Sponsor(self, tickets, lambda: int(time.time()))

    async def _carry(self, sponsor: Sponsor, kind: str) -> list[SponsorAction]:
        """Propose what a sponsor asks for."""
        who = f"ticket of node {self._node.nodeid}"
        change_kind: Kind = "join" if kind == "join" else "abort-join"
        try:
            outcome = await self._proposer.propose(
                change_kind,
                lambda base: sponsor.compose(),
                who=who,
                what=lambda: sponsor.what,
                # It may have been told the key, on its way out of the cluster or before.
                new_key_without=sponsor.nodeid if change_kind == "abort-join" else None,
            )
        except OperatorError as error:
            return sponsor.rejected((str(error),))
        if outcome.undecided:
            return sponsor.undecided(explained(outcome, self._name_of))
        if not outcome.accepted:
            return sponsor.rejected((explained(outcome, self._name_of),))
        return sponsor.committed()

    # What becomes of joins

    async def _complete(self) -> None:
        while True:
            news = self._news
            now = trio.current_time()
            self._completing.update(self.configuration, self._members(), self.quorate, now)
            due = self._completing.decide(now)
            if due is not None:
                await self._complete_one(due)
                continue
            with trio.move_on_at(self._completing.next_deadline()):
                await news.wait()

    async def _complete_one(self, due: Completion) -> None:
        try:
            outcome = await self._proposer.propose(
                due.kind,
                lambda base: due.edit(base.text, base.version + 1),
                who=f"node {self._node.nodeid}",
                what=due.what,
                new_key_without=None if due.kind == "count" else due.nodeid,
            )
        except Overtaken:
            return
        except OperatorError as error:
            # If it is not listed any more, somebody else was faster.
            if self.configuration.node(due.nodeid) is not None:
                self._log("warning", f"{due.what}, but that cannot be recorded: {error}")
            return
        if not outcome.accepted:
            self._log("warning", f"{due.what}, but that was not recorded: {explained(outcome, self._name_of)}")

    # The node

    def _log(self, level: str, text: str) -> None:
        self._node.log(level, "JOIN", text)

    def _members(self) -> tuple[NodeId, ...]:
        return self._node.quorum.membership.members

    def _name_of(self, nodeid: NodeId) -> str:
        node = self.configuration.node(nodeid)
        return f"node {nodeid}" if node is None or not node.name else node.name

    def _secrets(self) -> list[bytes]:
        if self._node.sealing is None:
            return []
        keys = self._node.sealing.seal.keys
        return [key.secret for key in (keys.sending, *keys.accepted)]

    def _stranger(self, data: bytes, source: str) -> bool:
        """Whether it is a probe; what is to be answered is."""
        if not data.startswith(MAGIC):
            return False
        answer = self._responder.answer(data, trio.current_time())
        if answer is not None:
            self._node.emit(SendNow(*answer))
        return True

    async def _check_quorum(self) -> None:
        """ServiceError if there is none, also when a ring that is forming has formed."""
        with trio.move_on_after(SYNC_PATIENCE_S):
            while self._node.sync_in_progress:
                await trio.sleep(0.05)
        if not self.quorate:
            why = self._changes.obstacle() or "there is no quorum"
            raise ServiceError(NO_QUORUM, f"nothing can be changed now: {why}")

    def _check_accepted(self, outcome: Outcome) -> None:
        if outcome.accepted:
            return
        text = explained(outcome, self._name_of)
        raise ServiceError(Code.FAILED_OPERATION if outcome.quorate else NO_QUORUM, text)


def _with_votes(nodeid: NodeId, votes: int, base: Change) -> str:
    return set_votes(base.text, nodeid, votes)
