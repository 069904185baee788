"""The trio client: `open_client`, and what one does with it.

    async with open_client() as client:
        print(await client.status())
        async with client.join(b"group") as group:
            await group.multicast(b"hello", safe=True)
            async for event in group:
                print(event)

A subscription's queue is bounded (totemd.client._link says how). With `reconnect=True` the loss of the connection is an
event, `DaemonRestarted`, in every subscription; the client connects again, however long it takes, and renews groups and
subscriptions. Requests that were in flight raise ConnectionLost: only their caller knows whether to repeat them.
"""

import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Generic, Self, TypeVar

import trio

from totemd.client import requests
from totemd.client._link import Backlog, Link, open_link
from totemd.client.config_records import ChangeOutcome, ConfigurationVersion, HistoryEntry
from totemd.client.errors import CannotConnect, ConnectionLost, ProtocolError, Refused, TotemdClientError
from totemd.client.protocol import EVENT_COST_BYTES, socket_path
from totemd.client.records import (
    CmapEvent,
    CmapValue,
    DaemonRestarted,
    GroupEvent,
    GroupInfo,
    GroupMember,
    MembersChanged,
    Node,
    Scalar,
    Status,
    TrackEvent,
    Welcome,
)
from totemd.client.requests import Request
from totemd.ids import NodeId

T = TypeVar("T")
E = TypeVar("E")
S = TypeVar("S", bound="Subscription[Any]")

RECONNECT_DELAY_MIN_S = 0.1
RECONNECT_DELAY_MAX_S = 5.0
"""Between attempts to connect again the delay doubles from the first to the second."""

GOODBYE_TIMEOUT_S = 2.0
"""How long leaving a group may take when its `async with` ends."""


class Subscription(Generic[E]):
    """Events in order: iterate, or `await next_event()`. The loss of the connection ends that by an exception."""

    def __init__(self, backlog: Backlog, begin: Request[Any], end: Request[None] | None = None) -> None:
        self.id = 0
        self.begin = begin
        self._end = end
        self._backlog = backlog
        self._queue: deque[tuple[Any, int]] = deque()
        self._bell = trio.Event()
        self._failure: TotemdClientError | None = None

    @property
    def end(self) -> Request[None]:
        """The request that ends what `begin` began."""
        return self._end or requests.untrack(self.id)

    def begun(self, value: object) -> None:
        """The daemon granted `begin` (for the connection)."""
        for event in self.begin.decode(value) or ():
            self.put(event, EVENT_COST_BYTES)

    def put(self, event: Any, cost_bytes: int) -> None:
        """Append an event (for the connection)."""
        if isinstance(event, DaemonRestarted) and self._queue and isinstance(self._queue[-1][0], DaemonRestarted):
            # Nothing came between two losses: one event says it.
            _, spent = self._queue.pop()
            self._backlog.remove(spent)
        self._queue.append((event, cost_bytes))
        self._backlog.add(cost_bytes)
        self._bell.set()

    def fail(self, failure: TotemdClientError) -> None:
        """No further events come; the queue's rest is delivered before `failure` is raised (for the connection)."""
        self._failure = failure
        self._bell.set()

    def drop(self) -> None:
        """Forget what still waits (for the connection)."""
        self._backlog.remove(sum(cost_bytes for _, cost_bytes in self._queue))
        self._queue.clear()

    async def next_event(self) -> E:
        """Wait for the next event; the exception that ended the connection once all are taken."""
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._failure is not None:
                raise self._failure
            self._bell = trio.Event()
            await self._bell.wait()
        event, cost_bytes = self._queue.popleft()
        self._backlog.remove(cost_bytes)
        self._took(event)
        return event  # type: ignore[no-any-return]

    def _took(self, event: object) -> None:
        """Hook for subclasses that follow their own events."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        return await self.next_event()


class Group(Subscription[GroupEvent]):
    """A process group that we are in. `members` is as of the last event taken."""

    def __init__(self, client: "Client", name: bytes, backlog: Backlog) -> None:
        super().__init__(backlog, requests.cpg_join(name), requests.cpg_leave(name))
        self._client = client
        self.name = name
        self.members: tuple[GroupMember, ...] = ()

    async def multicast(self, data: bytes, *, safe: bool = False) -> None:
        """Send `data` to all members in one order. `safe`: nobody gets it before every node has it.

        Returns once the daemon has queued it; while its queue is full this waits, so give it a deadline with
        trio's cancel scopes. Cancelled at the wrong instant, the message may still be sent.
        """
        await self._client.persist(requests.cpg_multicast(self.name, data, safe=safe))

    async def post(self, data: bytes, *, safe: bool = False) -> None:
        """Send `data` as `multicast` does it, but do not wait until the daemon has queued it: far more messages a
        second. Posts are sent in order, before whatever is asked for later.

        Waits while the daemon takes no more of them. Raises Refused if an earlier post was refused; `Client.settle`
        tells of all. What was posted and not settled is lost with the connection.
        """
        await self._client.post(self, data, safe)

    def _took(self, event: object) -> None:
        if isinstance(event, MembersChanged):
            self.members = event.members


Tracker = Subscription[TrackEvent]
"""Yields Membership, QuorumStatus, ExpectedVotes, Synchronized and, when reconnecting, DaemonRestarted."""


class Client:
    """A connection to the daemon on this machine, made by `open_client`. Refused requests raise Refused."""

    def __init__(self, path: str, name: str, *, reconnect: bool) -> None:
        self._path = path
        self._name = name
        self._reconnect = reconnect
        self._backlog = Backlog()
        self._link: Link | None = None
        self._posted_on: Link | None = None
        """Where something was posted that is not settled."""
        self._link_changed = trio.Event()
        self._failure: TotemdClientError | None = None
        self._subscriptions: set[Subscription[Any]] = set()
        self.welcome: Welcome
        """What the daemon says of itself: version, nodeid, cluster_name, incarnation."""

    async def call(self, request: Request[T]) -> T:
        """Send any request and wait for its reply; when reconnecting, wait for the connection first."""
        return await (await self._connected()).call(request)

    async def persist(self, request: Request[T]) -> T:
        """Call, and call again after each "ready", until it is no longer refused with try_again."""
        return await (await self._connected()).persist(request)

    async def post(self, group: Group, data: bytes, safe: bool) -> None:
        """See `Group.post`."""
        link = await self._connected()
        if link.may_post:
            self._posted_on = self._posted_on or link
            await link.post(requests.cpg_post(group.name, data, safe=safe))
        else:
            await group.multicast(data, safe=safe)

    async def settle(self) -> None:
        """Wait until the daemon has queued all that was posted; Refused, if it refused any of it, and ConnectionLost,
        if some of it may have been lost with a connection."""
        link, self._posted_on = self._posted_on, None
        if link is None:
            return
        await link.call(requests.ping())
        link.tell_refusal()

    async def ping(self) -> float:
        """The node's clock, seconds."""
        return float((await self.call(requests.ping())).get("time", 0.0))

    async def status(self) -> Status:
        """Ring, members, votes and quorum as this node sees them."""
        return await self.call(requests.status())

    async def nodes(self) -> tuple[Node, ...]:
        """All nodes of the nodelist and every node ever seen."""
        return await self.call(requests.nodes())

    async def stats(self) -> dict[str, Any]:
        """Counters, by area."""
        return await self.call(requests.stats())

    def track(self) -> AbstractAsyncContextManager[Tracker]:
        """`async with client.track() as tracker`: follow membership and quorum; the present state comes first."""
        return self._subscribed(Subscription[TrackEvent](self._backlog, requests.track()))

    async def expected(self, votes: int) -> None:
        """Set the expected votes on all members."""
        await self.call(requests.expected(votes))

    async def force_expected(self, votes: int, seconds: int, *, yes: bool) -> None:
        """Set the expected votes on all members for a while; fewer than configured need a yes."""
        await self.call(requests.force_expected(votes, seconds, yes=yes))

    async def set_votes(self, nodeid: NodeId, votes: int) -> None:
        """Set one node's votes."""
        await self.call(requests.votes(nodeid, votes))

    async def cancel_wait_for_all(self) -> None:
        """Stop waiting for all nodes (quorum.wait_for_all) on this start."""
        await self.call(requests.cancel_wait_for_all())

    def join(self, group: str | bytes) -> AbstractAsyncContextManager[Group]:
        """`async with client.join(b"name") as group`: join a process group, leave it at the end."""
        name = group.encode() if isinstance(group, str) else group
        return self._subscribed(Group(self, name, self._backlog))

    async def cpg_members(self, group: str | bytes) -> tuple[GroupMember, ...]:
        """Who is in `group`, in the whole cluster."""
        return await self.call(requests.cpg_members(group))

    async def cpg_groups(self) -> tuple[GroupInfo, ...]:
        """All process groups of the cluster."""
        return await self.call(requests.cpg_groups())

    async def cmap_get(self, key: str, *, map_name: str = "icmap") -> CmapValue:
        """One key of the configuration map (or of "stats", the statistics); Refused ("not_exist")."""
        return await self.call(requests.cmap_get(key, map_name))

    async def cmap_set(self, key: str, value: Scalar, type_name: str | None = None) -> None:
        """Set a key on this node."""
        await self.call(requests.cmap_set(key, value, type_name))

    async def cmap_delete(self, key: str) -> None:
        """Delete a key on this node."""
        await self.call(requests.cmap_delete(key))

    async def cmap_adjust(self, key: str, step: int) -> None:
        """Add `step` to a number."""
        await self.call(requests.cmap_adjust(key, step))

    async def cmap_list(self, prefix: str = "", *, map_name: str = "icmap") -> tuple[CmapValue, ...]:
        """All keys that begin with `prefix`."""
        return await self.call(requests.cmap_list(prefix, map_name))

    def cmap_track(
        self, prefix: str, *, exact: bool = False, map_name: str = "icmap"
    ) -> AbstractAsyncContextManager[Subscription[CmapEvent]]:
        """`async with client.cmap_track("nodelist.") as changes`: follow changes of keys (or of one key)."""
        begin = requests.cmap_track(prefix, exact=exact, map_name=map_name)
        return self._subscribed(Subscription[CmapEvent](self._backlog, begin))

    async def kill(self, nodeid: NodeId, reason: str = "") -> None:
        """Have a member end itself."""
        await self.call(requests.kill(nodeid, reason))

    async def shutdown(self) -> None:
        """Have this node leave the ring and its daemon end."""
        await self.call(requests.shutdown())

    async def reload(self) -> None:
        """Have the daemon read its configuration file again; Refused ("failed_operation") says what is wrong in it."""
        await self.call(requests.reload())

    async def cluster_invite(self, ttl_s: int, node_name: str | None = None, votes: int = 1) -> dict[str, Any]:
        """A ticket with which one new node can join: ticket, expires (Unix seconds), contacts."""
        return await self.call(requests.cluster_invite(ttl_s, node_name, votes))

    async def cluster_remove(self, node: str, *, force: bool = False) -> dict[str, Any]:
        """Take another node, by name or id, out of the cluster for good: nodeid, name, version."""
        return await self.call(requests.cluster_remove(node, force=force))

    async def cluster_leave(self) -> dict[str, Any]:
        """Take this node out of the cluster for good; its daemon ends: nodeid, name, version."""
        return await self.call(requests.cluster_leave())

    async def config_show(self, version: int | None = None) -> ConfigurationVersion:
        """The version of the replicated configuration that is in force, or an earlier one that is still kept."""
        return await self.call(requests.config_show(version))

    async def config_history(self) -> tuple[HistoryEntry, ...]:
        """The latest changes of the configuration and what became of them, the oldest first."""
        return await self.call(requests.config_history())

    async def config_validate(self, text: str) -> ChangeOutcome:
        """Ask every present node whether `text` would do; nothing changes."""
        return await self.call(requests.config_validate(text))

    async def config_propose(
        self, text: str, *, base_version: int | None = None, what: str = "", rollback_after_s: int | None = None
    ) -> ChangeOutcome:
        """Have `text` become the next version in all the cluster; returns when it is in force here, or refused.

        `base_version`: the version it was made from (None: whatever is in force); without quorum for
        `rollback_after_s` afterwards (None: 30) nodes go back by themselves where that is safe.
        """
        request = requests.config_propose(text, base_version=base_version, what=what, rollback_after_s=rollback_after_s)
        return await self.call(request)

    async def config_rollback(self, version: int | None = None) -> ChangeOutcome:
        """Have the text of an earlier version (None: the one before) become the next version."""
        return await self.call(requests.config_rollback(version))

    async def config_rotate_key(self) -> ChangeOutcome:
        """Have the ring sealed with a new key, which every node gets with the change; no message is lost."""
        return await self.call(requests.config_rotate_key())

    async def _connected(self) -> Link:
        while self._link is None or self._link.failure is not None:
            if self._failure is not None:
                raise self._failure
            await self._link_changed.wait()
        return self._link

    @asynccontextmanager
    async def _subscribed(self, subscription: S) -> AsyncIterator[S]:
        link = await self._connected()
        # Registered before it is granted: if the connection breaks right after, the next one begins it again.
        self._subscriptions.add(subscription)
        try:
            try:
                await link.persist(subscription.begin, subscription)
            except trio.Cancelled:
                # The daemon may have granted it by now.
                link.sinks[subscription.id] = subscription
                raise
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            if self._link is not None:
                await self._unsubscribe(self._link, subscription)
            subscription.drop()

    async def _unsubscribe(self, link: Link, subscription: Subscription[Any]) -> None:
        if link.sinks.get(subscription.id) is not subscription:
            return
        with trio.move_on_after(GOODBYE_TIMEOUT_S, shield=True), suppress(TotemdClientError):
            await link.call(subscription.end)
        link.sinks.pop(subscription.id, None)

    async def _run(self, link: Link) -> None:
        """Serve one connection after the other until there is no next."""
        failure: TotemdClientError = ConnectionLost("this client was closed")
        try:
            while True:
                failure = await self._serve(link)
                if not self._reconnect or isinstance(failure, ProtocolError):
                    break
                link = await self._open_again(link.welcome, failure)
        except TotemdClientError as error:
            failure = error
        finally:
            self._failure = failure
            self._set_link(None)
            for subscription in self._subscriptions:
                subscription.fail(failure)

    async def _serve(self, link: Link) -> TotemdClientError:
        try:
            async with trio.open_nursery() as nursery:
                # The first connection is in use already and began with no subscriptions.
                if link is not self._link:
                    nursery.start_soon(self._resubscribe, link)
                failure = await link.run()
                self._set_link(None)
                nursery.cancel_scope.cancel()
            return failure
        finally:
            await link.aclose()

    async def _resubscribe(self, link: Link) -> None:
        """Begin all subscriptions on a new connection, then let requests through."""
        for subscription in tuple(self._subscriptions):
            try:
                await link.persist(subscription.begin, subscription)
            except Refused as refusal:
                subscription.fail(refusal)
            except TotemdClientError:
                return
            if subscription not in self._subscriptions:
                await self._unsubscribe(link, subscription)
        self._set_link(link)

    async def _open_again(self, previous: Welcome, failure: TotemdClientError) -> Link:
        """Connect, however long it takes, and tell all subscriptions."""
        delay_s = RECONNECT_DELAY_MIN_S
        while True:
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, RECONNECT_DELAY_MAX_S)
            with suppress(CannotConnect):
                link = await open_link(self._path, self._name, self._backlog)
                break
        self.welcome = link.welcome
        restarted = DaemonRestarted(link.welcome.incarnation, previous.incarnation, str(failure))
        for subscription in self._subscriptions:
            subscription.put(restarted, EVENT_COST_BYTES)
        return link

    def _set_link(self, link: Link | None) -> None:
        self._link = link
        self._link_changed.set()
        self._link_changed = trio.Event()


@asynccontextmanager
async def open_client(
    path: str | os.PathLike[str] | None = None, *, name: str = "python", reconnect: bool = False
) -> AsyncIterator[Client]:
    """`async with open_client() as client`: connect to the daemon on this machine.

    `path` defaults to TOTEMD_SOCKET or /run/totemd/totemd.sock; `name` is what the daemon's statistics call this
    client. The first connection is tried once: CannotConnect, ProtocolError or Refused ("access"). With `reconnect` a
    later loss is repaired and shows as DaemonRestarted; without, everything raises ConnectionLost from then on.
    """
    client = Client(socket_path(path), name, reconnect=reconnect)
    link = await open_link(client._path, name, client._backlog)
    client.welcome = link.welcome
    client._set_link(link)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client._run, link)
        try:
            yield client
        except Exception as error:
            # Raised outside the nursery, so that it is not wrapped in an exception group.
            failure = error
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
