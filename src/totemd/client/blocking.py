"""The client for scripts: plain blocking calls on a plain socket, without trio and quick to import.

    from totemd.client import blocking

    with blocking.connect() as client:
        print(client.status().quorate)
        with client.join(b"group") as group:
            group.multicast(b"hello", safe=True)
            for event in group:
                print(event)

One thread uses one client. Events are read from the socket only while a call waits or a subscription is iterated; a
program that subscribes and then does something else for long is cut off by the daemon, with a reason.
"""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from totemd.client import requests
from totemd.client.config_records import ChangeOutcome, ConfigurationVersion, HistoryEntry
from totemd.client.errors import (
    CannotConnect,
    ConnectionLost,
    CutOff,
    ProtocolError,
    Refused,
    TotemdClientError,
    TryAgain,
)
from totemd.client.protocol import (
    POST,
    QUEUED_BYTES_MAX,
    ClientProtocol,
    Incoming,
    Pushed,
    Ready,
    Reply,
    socket_path,
    too_many_events,
    why_not_connected,
)
from totemd.client.records import (
    CmapChanged,
    CmapValue,
    Delivered,
    ExpectedVotes,
    GroupInfo,
    GroupMember,
    MembersChanged,
    Membership,
    Node,
    QuorumStatus,
    Scalar,
    Status,
    Synchronized,
    Welcome,
)
from totemd.client.requests import Request
from totemd.ids import NodeId

__all__ = [
    "BlockingClient",
    "BlockingGroup",
    "CannotConnect",
    "ConnectionLost",
    "CutOff",
    "ProtocolError",
    "Refused",
    "Subscription",
    "TotemdClientError",
    "TryAgain",
    "connect",
]

T = TypeVar("T")
E = TypeVar("E")

ANSWER_TIMEOUT_S = 10.0
"""How long a call waits for the daemon's answer; a daemon that lives answers within milliseconds."""

CHANGE_TIMEOUT_S = 180.0
"""The same for changes of the configuration: they wait for their turn, and for all nodes."""

READY_POLL_S = 1.0
"""After try_again: ask again after this even if no "ready" came."""

_RECEIVE_SIZE_BYTES = 262_144


def connect(
    path: str | os.PathLike[str] | None = None, *, name: str = "python", timeout_s: float = ANSWER_TIMEOUT_S
) -> "BlockingClient":
    """Connect to the daemon on this machine.

    `path` defaults to TOTEMD_SOCKET or /run/totemd/totemd.sock; `name` is what the daemon's statistics call this
    client; every call that gets no answer within `timeout_s` raises ConnectionLost. Raises CannotConnect,
    ProtocolError, or Refused ("access").
    """
    where = socket_path(path)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(where)
        return BlockingClient(connection, ClientProtocol(name), timeout_s)
    except OSError as error:
        connection.close()
        raise CannotConnect(where, why_not_connected(where, error)) from None
    except ConnectionLost as error:
        connection.close()
        raise CannotConnect(where, f"the daemon at {where} did not let us in: {error}") from None
    except BaseException:
        connection.close()
        raise


class Subscription(Generic[E]):
    """Events in the order in which they came; iterate, or take one at a time with `next_event`."""

    def __init__(
        self,
        client: "BlockingClient",
        end: Request[None] | None = None,
        first: Callable[[object], Iterable[E]] | None = None,
    ) -> None:
        """`first` makes the first events from the value with which the subscription was granted."""
        self._client = client
        self._first = first
        self._end = end
        self._queue: deque[tuple[Any, int]] = deque()
        self.id = 0

    def _begun(self, value: object) -> None:
        for event in self._first(value) if self._first else ():
            self._put(event, 0)

    def _put(self, event: object, cost_bytes: int) -> None:
        self._queue.append((event, cost_bytes))

    def next_event(self, timeout_s: float | None = None) -> E | None:
        """The next event; None if none comes within `timeout_s` (None: wait without limit)."""
        if not self._queue and not self._client._wait(lambda: bool(self._queue), timeout_s):
            return None
        event, cost_bytes = self._queue.popleft()
        self._client._queued_bytes -= cost_bytes
        return event  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[E]:
        while (event := self.next_event()) is not None:
            yield event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unsubscribe; what still waits is dropped."""
        self._client._unsubscribe(self, self._end or requests.untrack(self.id))


class BlockingGroup(Subscription[Delivered | MembersChanged]):
    """A process group that we are in."""

    def __init__(self, client: "BlockingClient", name: bytes) -> None:
        super().__init__(client, requests.cpg_leave(name))
        self.name = name

    def multicast(self, data: bytes, *, safe: bool = False, timeout_s: float | None = None) -> None:
        """Send `data` to all members in one order. `safe`: nobody gets it before every node has it.

        Returns once the daemon has queued it; waits while the queue is full. Raises TryAgain after `timeout_s`.
        """
        self._client._when_ready(requests.cpg_multicast(self.name, data, safe=safe), timeout_s)

    def post(self, data: bytes, *, safe: bool = False, timeout_s: float | None = None) -> None:
        """Send `data` as `multicast` does it, but do not wait until the daemon has queued it: far more messages a
        second. Posts are sent in order, before whatever is asked for later.

        Waits while the daemon takes no more of them; raises TryAgain, with nothing sent, after `timeout_s`. Raises
        Refused if an earlier post was refused; `BlockingClient.settle` tells of all.
        """
        self._client._post(self, data, safe, timeout_s)


class BlockingClient:
    """A connection to the daemon. Refused requests raise Refused; the connection goes on."""

    def __init__(self, connection: socket.socket, protocol: ClientProtocol, timeout_s: float) -> None:
        self._socket = connection
        self._protocol = protocol
        self._timeout_s = timeout_s
        self._subscriptions: dict[int, Subscription[Any]] = {}
        self._replies: dict[int, Reply] = {}
        self._awaited: set[int] = set()
        self._queued_bytes = 0
        self._ready = False
        self._refused: Refused | None = None
        """Why a post was refused, until somebody is told."""
        self._failure: TotemdClientError | None = None
        with suppress(BrokenPipeError):
            # Who is refused is told why and cut off without being heard.
            self._socket.sendall(protocol.hello())
        if not self._wait(lambda: protocol.welcome is not None, timeout_s):
            raise TimeoutError
        assert protocol.welcome is not None
        self.welcome: Welcome = protocol.welcome

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the daemon takes us out of our groups."""
        self._socket.close()
        self._failure = self._failure or ConnectionLost("this client was closed")

    def call(
        self, request: Request[T], subscription: Subscription[Any] | None = None, *, timeout_s: float | None = None
    ) -> T:
        """Send any request and wait for its reply, for the connection's time or for `timeout_s`."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        if self._failure is not None:
            raise self._failure
        request_id, frame = self._protocol.request(request)
        if subscription is not None:
            subscription.id = request_id
            self._subscriptions[request_id] = subscription
        self._awaited.add(request_id)
        try:
            self._send(frame)
            if not self._wait(lambda: request_id in self._replies, timeout_s):
                raise ConnectionLost(f"the daemon did not answer {request.do!r} within {timeout_s:g} s")
            reply = self._replies.pop(request_id)
            if reply.error is not None:
                raise reply.error
            return request.decode(reply.value)
        except BaseException:
            self._subscriptions.pop(request_id, None)
            raise
        finally:
            self._awaited.discard(request_id)

    def status(self) -> Status:
        """Ring, members, votes and quorum as this node sees them."""
        return self.call(requests.status())

    def nodes(self) -> tuple[Node, ...]:
        """All nodes of the nodelist and every node ever seen."""
        return self.call(requests.nodes())

    def stats(self) -> dict[str, Any]:
        """Counters, by area."""
        return self.call(requests.stats())

    def settle(self, timeout_s: float | None = None) -> None:
        """Wait until the daemon has queued all that was posted; TryAgain after `timeout_s`. Refused, if it refused any
        of it. Other calls do not wait for long while posts wait for room: settle before."""
        if self._failure is not None:
            raise self._failure
        request_id, frame = self._protocol.request(requests.ping())
        self._awaited.add(request_id)
        try:
            self._push(frame, timeout_s)
            if not self._wait(lambda: request_id in self._replies, timeout_s):
                raise TryAgain("try_again", "the daemon has not queued all messages yet")
            del self._replies[request_id]
        finally:
            self._awaited.discard(request_id)
        self._tell_refusal()

    def track(self) -> Subscription[Membership | QuorumStatus | ExpectedVotes | Synchronized]:
        """Follow membership and quorum; the present state comes first."""
        begin = requests.track()
        subscription: Subscription[Any] = Subscription(self, first=begin.decode)
        self.call(begin, subscription)
        return subscription

    def expected(self, votes: int) -> None:
        """Set the expected votes on all members."""
        self.call(requests.expected(votes))

    def force_expected(self, votes: int, seconds: int, *, yes: bool) -> None:
        """Set the expected votes on all members for a while; fewer than configured need a yes."""
        self.call(requests.force_expected(votes, seconds, yes=yes))

    def set_votes(self, nodeid: NodeId, votes: int) -> None:
        """Set one node's votes."""
        self.call(requests.votes(nodeid, votes))

    def cancel_wait_for_all(self) -> None:
        """Stop waiting for all nodes (quorum.wait_for_all) on this start."""
        self.call(requests.cancel_wait_for_all())

    def join(self, group: str | bytes, *, timeout_s: float | None = None) -> BlockingGroup:
        """Join a process group; leave it with `close` or by ending the `with`. Raises TryAgain after `timeout_s`."""
        name = group.encode() if isinstance(group, str) else group
        joined = BlockingGroup(self, name)
        self._when_ready(requests.cpg_join(name), timeout_s, joined)
        return joined

    def cpg_members(self, group: str | bytes) -> tuple[GroupMember, ...]:
        """Who is in `group`, in the whole cluster."""
        return self.call(requests.cpg_members(group))

    def cpg_groups(self) -> tuple[GroupInfo, ...]:
        """All process groups of the cluster."""
        return self.call(requests.cpg_groups())

    def cmap_get(self, key: str, *, map_name: str = "icmap") -> CmapValue:
        """One key of the configuration map (or of "stats", the statistics); Refused ("not_exist")."""
        return self.call(requests.cmap_get(key, map_name))

    def cmap_set(self, key: str, value: Scalar, type_name: str | None = None) -> None:
        """Set a key on this node."""
        self.call(requests.cmap_set(key, value, type_name))

    def cmap_delete(self, key: str) -> None:
        """Delete a key on this node."""
        self.call(requests.cmap_delete(key))

    def cmap_adjust(self, key: str, step: int) -> None:
        """Add `step` to a number."""
        self.call(requests.cmap_adjust(key, step))

    def cmap_list(self, prefix: str = "", *, map_name: str = "icmap") -> tuple[CmapValue, ...]:
        """All keys that begin with `prefix`."""
        return self.call(requests.cmap_list(prefix, map_name))

    def cmap_track(self, prefix: str, *, exact: bool = False, map_name: str = "icmap") -> Subscription[CmapChanged]:
        """Follow changes of the keys that begin with `prefix` (or of that one key)."""
        subscription: Subscription[CmapChanged] = Subscription(self)
        self.call(requests.cmap_track(prefix, exact=exact, map_name=map_name), subscription)
        return subscription

    def kill(self, nodeid: NodeId, reason: str = "") -> None:
        """Have a member end itself."""
        self.call(requests.kill(nodeid, reason))

    def shutdown(self) -> None:
        """Have this node leave the ring and its daemon end."""
        self.call(requests.shutdown())

    def reload(self) -> None:
        """Have the daemon read its configuration file again; Refused ("failed_operation") says what is wrong in it."""
        self.call(requests.reload())

    def cluster_invite(self, ttl_s: int, node_name: str | None = None, votes: int = 1) -> dict[str, Any]:
        """A ticket with which one new node can join: ticket, expires (Unix seconds), contacts."""
        return self.call(requests.cluster_invite(ttl_s, node_name, votes))

    def cluster_remove(self, node: str, *, force: bool = False) -> dict[str, Any]:
        """Take another node, by name or id, out of the cluster for good: nodeid, name, version."""
        return self.call(requests.cluster_remove(node, force=force))

    def cluster_leave(self) -> dict[str, Any]:
        """Take this node out of the cluster for good; its daemon ends: nodeid, name, version."""
        return self.call(requests.cluster_leave())

    def config_show(self, version: int | None = None) -> ConfigurationVersion:
        """The version of the replicated configuration that is in force, or an earlier one that is still kept."""
        return self.call(requests.config_show(version))

    def config_history(self) -> tuple[HistoryEntry, ...]:
        """The latest changes of the configuration and what became of them, the oldest first."""
        return self.call(requests.config_history())

    def config_validate(self, text: str) -> ChangeOutcome:
        """Ask every present node whether `text` would do; nothing changes."""
        return self.call(requests.config_validate(text), timeout_s=CHANGE_TIMEOUT_S)

    def config_propose(
        self, text: str, *, base_version: int | None = None, what: str = "", rollback_after_s: int | None = None
    ) -> ChangeOutcome:
        """Have `text` become the next version in all the cluster; returns when it is in force here, or refused.

        `base_version`: the version it was made from (None: whatever is in force); without quorum for
        `rollback_after_s` afterwards (None: 30) nodes go back by themselves where that is safe.
        """
        request = requests.config_propose(text, base_version=base_version, what=what, rollback_after_s=rollback_after_s)
        return self.call(request, timeout_s=CHANGE_TIMEOUT_S)

    def config_rollback(self, version: int | None = None) -> ChangeOutcome:
        """Have the text of an earlier version (None: the one before) become the next version."""
        return self.call(requests.config_rollback(version), timeout_s=CHANGE_TIMEOUT_S)

    def config_rotate_key(self) -> ChangeOutcome:
        """Have the ring sealed with a new key, which every node gets with the change; no message is lost."""
        return self.call(requests.config_rotate_key(), timeout_s=CHANGE_TIMEOUT_S)

    def wait_closed(self, timeout_s: float) -> ConnectionLost | None:
        """Wait for the daemon to end the connection; its reason, or None after `timeout_s`."""
        try:
            self._wait(lambda: False, timeout_s)
        except ConnectionLost as error:
            return error
        return None

    def _when_ready(
        self, request: Request[None], timeout_s: float | None, subscription: Subscription[Any] | None = None
    ) -> None:
        """Call, and call again after each "ready", until it is no longer refused with try_again."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._ready = False
            try:
                return self.call(request, subscription)
            except TryAgain:
                if deadline is not None and time.monotonic() >= deadline:
                    raise
            remaining_s = READY_POLL_S if deadline is None else min(READY_POLL_S, deadline - time.monotonic())
            self._wait(lambda: self._ready, remaining_s)

    def _post(self, group: BlockingGroup, data: bytes, safe: bool, timeout_s: float | None) -> None:
        self._tell_refusal()
        if self._failure is not None:
            raise self._failure
        if not self._protocol.may_post:
            return group.multicast(data, safe=safe, timeout_s=timeout_s)
        return self._push(self._protocol.post(requests.cpg_post(group.name, data, safe=safe)), timeout_s)

    def _push(self, frame: bytes, timeout_s: float | None) -> None:
        """Send, and go on reading while the socket takes nothing; TryAgain if nothing was sent within `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._socket.settimeout(0.0)
        rest = memoryview(frame)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                if deadline is not None and time.monotonic() >= deadline and len(rest) == len(frame):
                    raise TryAgain("try_again", "the daemon takes no more messages for now") from None
                self._exchange(None if len(rest) < len(frame) else deadline)
            except OSError:
                raise self._end() from None

    def _exchange(self, deadline: float | None) -> None:
        """Wait until the socket takes something, and read what comes meanwhile: the daemon cuts off who does not."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLOUT)
        remaining_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if any(events & ~select.POLLOUT for _, events in poll.poll(remaining_ms)):
            self._wait(lambda: False, 0.0, at_least_once=True)
            self._socket.settimeout(0.0)

    def _tell_refusal(self) -> None:
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused

    def _unsubscribe(self, subscription: Subscription[Any], end: Request[None]) -> None:
        if self._subscriptions.get(subscription.id) is subscription and self._failure is None:
            with suppress(TotemdClientError):
                self.call(end)
        self._subscriptions.pop(subscription.id, None)
        self._queued_bytes -= sum(cost_bytes for _, cost_bytes in subscription._queue)
        subscription._queue.clear()

    def _send(self, frame: bytes) -> None:
        self._socket.settimeout(self._timeout_s)
        try:
            self._socket.sendall(frame)
        except TimeoutError:
            # Part of the frame may be on its way: nothing sensible can follow it.
            raise self._fail(ConnectionLost("the daemon does not read its socket")) from None
        except OSError:
            raise self._end() from None

    def _end(self) -> TotemdClientError:
        """The socket takes nothing more. The daemon's parting words, if it had any, may still wait to be read."""
        self._wait(lambda: False, self._timeout_s)
        return self._fail(self._protocol.ended())

    def _wait(self, done: Callable[[], bool], timeout_s: float | None, *, at_least_once: bool = False) -> bool:
        """Read and sort what comes until `done()`; False if `timeout_s` passed first. Raises when all is over."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                while (incoming := self._protocol.take()) is not None:
                    self._sort(incoming)
            except TotemdClientError as error:
                raise self._fail(error) from None
            if done():
                return True
            if self._failure is not None:
                raise self._failure
            remaining_s = None if deadline is None else deadline - time.monotonic()
            if remaining_s is not None and remaining_s <= 0 and not at_least_once:
                return False
            at_least_once = False
            self._receive(remaining_s)

    def _receive(self, timeout_s: float | None) -> None:
        self._socket.settimeout(None if timeout_s is None else max(0.0, timeout_s))
        try:
            data = self._socket.recv(_RECEIVE_SIZE_BYTES)
        except (TimeoutError, BlockingIOError):
            return
        except OSError as error:
            self._fail(self._protocol.ended(error.strerror or str(error)))
            return
        if data:
            self._protocol.append(data)
        else:
            self._fail(self._protocol.ended())

    def _sort(self, incoming: Incoming) -> None:
        if isinstance(incoming, Reply):
            if incoming.id in self._awaited:
                self._replies[incoming.id] = incoming
            elif incoming.id == POST and incoming.error is not None:
                self._refused = self._refused or incoming.error
            subscription = self._subscriptions.get(incoming.id)
            if subscription is not None and incoming.error is None:
                subscription._begun(incoming.value)
        elif isinstance(incoming, Ready):
            self._ready = True
        elif isinstance(incoming, Pushed):
            subscription = self._subscriptions.get(incoming.of)
            if subscription is not None:
                subscription._put(incoming.event, incoming.cost_bytes)
                self._queued_bytes += incoming.cost_bytes
                if self._queued_bytes > QUEUED_BYTES_MAX:
                    raise too_many_events()

    def _fail(self, error: TotemdClientError) -> TotemdClientError:
        self._failure = self._failure or error
        self._socket.close()
        return self._failure
