"""One node with its real services and a total order in memory, and clients of its native socket without a socket."""

from collections.abc import Mapping, Sequence
from typing import Any

from service_cluster import FakeHost
from totemd.config.model import AccessSettings, QuorumSettings
from totemd.ids import NO_RING, NodeId, RingId
from totemd.ipc.access import AccessPolicy
from totemd.ipc.frames import REPLY_BOUNDS, Frame, FrameDecoder, encode_frame
from totemd.ipc.ports import Credentials, Synchronized
from totemd.ipc.services import Services
from totemd.ipc.session import Session
from totemd.services.base import Listener, Service
from totemd.services.cfg import Cfg
from totemd.services.cmap import Cmap
from totemd.services.cpg import Cpg
from totemd.services.quorum import Quorum
from totemd.services.votequorum.service import VoteQuorum
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.wire.service import decode_service_header

DAEMON_UID = 900
ROOT = Credentials(4711, 0, 0)
HELLO: Frame = {"hello": {"protocol": 1, "client": "test"}}


class FakeNode:
    """What the node itself answers."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host
        self.cluster_name = "lab"
        self.version = "0.1.0"
        self.incarnation = "a1b2"
        self.membership: ConfigurationChanged | None = None
        self.listeners: list[Listener] = []
        self.extra: dict[str, object] = {}

    @property
    def nodeid(self) -> NodeId:
        return self._host.nodeid

    @property
    def now(self) -> float:
        return self._host.now

    def log(self, level: str, subsystem: str, text: str) -> None:
        self._host.log(level, text)

    def status(self) -> Mapping[str, object]:
        return {"cluster_name": self.cluster_name, "nodeid": self.nodeid, **self.extra}

    def nodes(self) -> Sequence[Mapping[str, object]]:
        return [{"nodeid": self.nodeid, "local": True}]

    def stats(self) -> Mapping[str, object]:
        return {"ring": {"tokens": 7}}

    def current_membership(self) -> ConfigurationChanged | None:
        return self.membership

    def subscribe_membership(self, listener: Listener) -> None:
        self.listeners.append(listener)

    def unsubscribe_membership(self, listener: Listener) -> None:
        self.listeners = [known for known in self.listeners if known is not listener]

    def push(self, event: object) -> None:
        for listener in list(self.listeners):
            listener.push(event)


class World:
    """Node 1. Its order of messages advances with `settle`; node 2 speaks through `deliver`."""

    def __init__(self, *, provider: bool = True, access: AccessSettings | None = None) -> None:
        self.host = FakeHost(1)
        self.node = FakeNode(self.host)
        self.cmap = Cmap(self.host, lambda nodeid: f"192.0.2.{nodeid}")
        self.cfg = Cfg(self.host, self.cmap)
        self.cpg = Cpg(self.host)
        self.quorum = Quorum(self.host, has_provider=provider)
        self.votequorum: VoteQuorum | None = None
        if provider:
            settings = QuorumSettings(provider="corosync_votequorum", expected_votes=3)
            self.votequorum = VoteQuorum(self.host, settings, quorum_changed=self.quorum.provider_changed)
        self.policy = AccessPolicy(DAEMON_UID, access or AccessSettings())
        self.services = Services(
            node=self.node,
            access=self.policy,
            cpg=self.cpg,
            cmap=self.cmap,
            cfg=self.cfg,
            quorum=self.quorum,
            votequorum=self.votequorum,
        )
        hosted: list[Service] = [self.cmap, self.cfg, self.cpg, self.quorum]
        if self.votequorum is not None:
            hosted.append(self.votequorum)
        self._hosted = {service.service_id: service for service in hosted}
        self._rings = 0
        self._ring = NO_RING
        self._members: tuple[NodeId, ...] = ()

    def begin_ring(self, *members: NodeId) -> RingId:
        """A new configuration; synchronization is in progress from here on."""
        old, self._members = self._members, members
        self._rings += 1
        self._ring = RingId(min(members), self._rings)
        self.host.syncing = True
        stay = tuple(nodeid for nodeid in members if nodeid in old) or (1,)
        left = tuple(nodeid for nodeid in old if nodeid not in members)
        joined = tuple(nodeid for nodeid in members if nodeid not in stay)
        for change in (
            ConfigurationChanged(ConfigurationKind.TRANSITIONAL, self._ring, stay, (), left, "test"),
            ConfigurationChanged(ConfigurationKind.REGULAR, self._ring, members, joined, (), "test"),
        ):
            for service in self._hosted.values():
                service.configuration_changed(change)
            self.node.membership = change
            self.node.push(change)
        for service in self._hosted.values():
            service.sync_init(stay, members, self._ring)
        return self._ring

    def finish_ring(self, *others: tuple[NodeId, bytes]) -> None:
        """Synchronize; `others` are messages of other nodes in this round. Then "ready", as the node does it."""
        for service in self._hosted.values():
            while not service.sync_process():
                pass
        self._deliver_all(self.host.sync_queue)
        for sender, message in others:
            self.deliver(sender, message)
        for service in self._hosted.values():
            service.sync_activate()
        self.host.syncing = False
        self.node.push(Synchronized(self._ring))
        self.cpg.retry_pending()
        self.services.queue_became_ready()

    def form(self, *members: NodeId) -> RingId:
        """A whole change of the ring; the others have no processes."""
        ring = self.begin_ring(*members)
        self.finish_ring()
        return ring

    def deliver(self, sender: NodeId, message: bytes) -> None:
        """A message at its place in the order."""
        header = decode_service_header(message)
        self._hosted[header.service].receive(header.function, sender, message)

    def settle(self) -> None:
        """The token goes round until nothing is queued."""
        while self.host.queue:
            self._deliver_all(self.host.queue)
            self.cpg.retry_pending()
            self.services.queue_became_ready()

    def _deliver_all(self, queue: list[bytes]) -> None:
        while queue:
            self.deliver(1, queue.pop(0))

    def client(self, credentials: Credentials = ROOT) -> "Client":
        """A client that has said hello."""
        client = Client(self, credentials)
        client.send(HELLO)
        client.welcome = client.take()
        return client


class Client:
    """The other end of a session."""

    def __init__(self, world: World, credentials: Credentials = ROOT) -> None:
        self.world = world
        self.session = Session(credentials, world.services)
        self.welcome: list[Frame] = []
        self._decoder = FrameDecoder(REPLY_BOUNDS)
        self._ident = 0

    def send(self, *frames: Frame) -> None:
        """Frames, in one piece; all their turns."""
        self.send_bytes(b"".join(map(encode_frame, frames)))

    def send_bytes(self, data: bytes) -> None:
        self.session.receive(data)
        while self.session.has_pending_input:
            self.session.resume()

    def take(self) -> list[Frame]:
        """Everything the daemon has written since the last time."""
        chunks = self.session.take_output()
        self.session.written(sum(map(len, chunks)))
        return self._decoder.feed(b"".join(chunks))

    def ask(self, do: str, /, **given: object) -> int:
        """Send a request; its id."""
        self._ident += 1
        self.send({"id": self._ident, "do": do, "with": given})
        return self._ident

    def reply(self, do: str, /, **given: object) -> Frame:
        """Ask, and take the reply, which must be the next thing that comes."""
        before = self.take()
        assert before == [], "events were not looked at"
        ident = self.ask(do, **given)
        frames = self.take()
        assert len(frames) == 1, frames
        assert frames[0].pop("id") == ident
        return frames[0]

    def ok(self, do: str, /, **given: object) -> Any:
        """The value of a request that must succeed."""
        reply = self.reply(do, **given)
        assert list(reply) == ["ok"], reply
        return reply["ok"]

    def refused(self, do: str, /, **given: object) -> tuple[str, str]:
        """Code and message of a request that must fail."""
        reply = self.reply(do, **given)
        assert list(reply) == ["error"], reply
        assert set(reply["error"]) == {"code", "message"}
        return reply["error"]["code"], reply["error"]["message"]

    def joined(self, group: bytes) -> int:
        """Join and be in; the subscription's id, and no event left."""
        self.ok("cpg_join", group=group)
        ident = self._ident
        self.world.settle()
        events = self.take()
        assert events[0]["event"] == "members"
        assert events[0]["of"] == ident
        return ident

    @property
    def last_ident(self) -> int:
        return self._ident
