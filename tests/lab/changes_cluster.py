"""The service "changes" of several nodes over an order made in memory, with disks that can be held up and lost."""

from collections.abc import Callable

from service_cluster import ClusterNode, FakeHost, ServiceCluster
from totemd.cluster.change import Change
from totemd.cluster.text import digest
from totemd.config import load
from totemd.config.model import Configuration
from totemd.config.reload import compare
from totemd.errors import ConfigError
from totemd.ids import NodeId
from totemd.services.changes import Changes, Outcome
from totemd.services.changes.majorities import franchise, lacks_own_majority
from totemd.wire.votequorum import DEVICE_NODEID


def cluster_text(votes: dict[NodeId, int], version: int = 1, **totem: str) -> str:
    """A managed cluster's file."""
    nodes = "".join(
        f"    node {{\n        nodeid: {i}\n        ring0_addr: 10.0.0.{i}\n        quorum_votes: {n}\n    }}\n"
        for i, n in votes.items()
    )
    lines = "".join(f"    {key}: {value}\n" for key, value in totem.items())
    return (
        f"totem {{\n    version: 2\n    config_version: {version}\n    cluster_name: sea\n    transport: udp\n"
        f"    cluster_id: {'a0' * 16}\n    crypto_cipher: none\n{lines}}}\nnodelist {{\n{nodes}}}\n"
        "quorum {\n    provider: corosync_votequorum\n}\n"
    )


def first_change(text: str) -> Change:
    """What all nodes begin with."""
    return Change(digest(text), "create", 1, 1, text, "test")


class Disk:
    """What survives a crash. While it is held up nothing becomes durable."""

    def __init__(self, text: str) -> None:
        self.files = {"committed": first_change(text).encode()}
        self.waiting: list[tuple[str, bytes, bytes]] = []
        self.held = False
        self.refuses = ""


class Around:
    """`services.changes.Surroundings` of one node; texts are read when `answer` is called."""

    def __init__(
        self,
        nodeid: NodeId,
        host: FakeHost,
        disk: Disk,
        quorate: Callable[[NodeId], bool],
        members: Callable[[NodeId], tuple[NodeId, ...]],
    ) -> None:
        self.nodeid = nodeid
        self.host = host
        self.disk = disk
        self.service: Changes
        self.active: Configuration
        self.in_force: list[int] = []
        self.questions: list[tuple[bytes, str]] = []
        self.refuses: str | None = None
        """Why this node does not like any text."""
        self.written: list[str] = []
        self.rings_wanted = 0
        self.keys = b"the first keys"
        self._quorate = quorate
        self.members = members

    def parse(self, text: str) -> Configuration | str | None:
        address = f"10.0.0.{self.nodeid}"
        try:
            return load(text, file="test", resolve=lambda name, version: [name], local_addresses=[address])
        except ConfigError as error:
            return str(error)

    def check(self, ident: bytes, text: str) -> None:
        self.questions.append((ident, text))

    def store(self, name: str, data: bytes, ident: bytes) -> None:
        self.disk.waiting.append((name, data, ident))

    def write(self, text: str, key_ring: bytes | None) -> None:
        self.written.append(text)

    def objections(self, configuration: Configuration) -> tuple[str, ...]:
        return tuple(str(error) for error in compare(self.active, configuration).errors)

    def activate(self, configuration: Configuration) -> str | None:
        plan = compare(self.active, configuration)
        if plan.errors:
            return str(plan.errors[0])
        self.active = plan.configuration
        self.in_force.append(self.active.config_version)
        return None

    def configuration(self) -> Configuration:
        return self.active

    def form_ring(self, reason: str) -> None:
        self.rings_wanted += 1

    def quorate(self) -> bool:
        return self._quorate(self.nodeid)

    def obstacle(self) -> str:
        if not self.quorate():
            return "there is no quorum"
        if self.active.quorum.device_model is None:
            return ""
        return lacks_own_majority(self.active, self.members(self.nodeid))

    def unix_time(self) -> int:
        return 1_000_000

    def open_box(self, change: Change) -> bytes | None:
        return change.boxes.get(self.nodeid)

    def has_keys(self, key_ring: bytes) -> bool:
        return key_ring == self.keys

    def accept_keys(self, key_ring: bytes) -> None:
        pass

    def switch_keys(self, key_ring: bytes) -> None:
        self.keys = key_ring

    def answer(self) -> bool:
        """Answer what was asked and write what is to be written; False if there was nothing."""
        busy = False
        while self.questions:
            ident, text = self.questions.pop(0)
            meaning = self.refuses if self.refuses is not None else self.parse(text)
            self.service.configuration_checked(ident, meaning)
            busy = True
        while self.disk.waiting and not self.disk.held:
            name, data, ident = self.disk.waiting.pop(0)
            if not self.disk.refuses:
                self.disk.files[name] = data
            self.service.change_stored(ident, self.disk.refuses or None)
            busy = True
        return busy


class ChangesCluster:
    """Nodes 1 to `size` with equal votes unless told otherwise."""

    def __init__(self, votes: dict[NodeId, int], text: str | None = None) -> None:
        self.text = cluster_text(votes) if text is None else text
        self.disks = {nodeid: Disk(self.text) for nodeid in votes}
        self.device_votes_for: set[NodeId] = set()
        """The nodes for which a quorum device casts its vote, if the text has one."""
        self.around: dict[NodeId, Around] = {}
        self.ring = ServiceCluster[Changes](max(votes), self._make)
        self.outcomes: dict[bytes, Outcome] = {}
        self._idents = 0

    def _make(self, host: FakeHost) -> Changes:
        nodeid = host.nodeid
        disk = self.disks.setdefault(nodeid, Disk(self.text))
        disk.waiting = []
        around = Around(nodeid, host, disk, self._quorate, lambda nodeid: tuple(self.ring.nodes[nodeid].members))
        active = Change.decode(disk.files["committed"])
        meaning = around.parse(active.text)
        assert isinstance(meaning, Configuration), meaning
        around.active = meaning
        around.in_force = [meaning.config_version]
        around.service = Changes(host, around, disk.files, meaning)
        self.around[nodeid] = around
        return around.service

    def _quorate(self, nodeid: NodeId) -> bool:
        needed = franchise(self.around[nodeid].active)
        device = {DEVICE_NODEID} if nodeid in self.device_votes_for else set()
        return needed.present({*self.ring.nodes[nodeid].members, *device}) >= needed.quorum

    def node(self, nodeid: NodeId) -> ClusterNode[Changes]:
        return self.ring.nodes[nodeid]

    def service(self, nodeid: NodeId) -> Changes:
        return self.ring.nodes[nodeid].service

    def crash(self, nodeid: NodeId) -> None:
        """It ends and starts again with what its disk has."""
        self.ring.restart(nodeid)

    def change(self, nodeid: NodeId, text: str | None = None, **totem: str) -> Change:
        """A change of what this node has now."""
        base = self.service(nodeid).current()
        if text is None:
            lines = "".join(f"    {key}: {value}\n" for key, value in totem.items())
            text = base.text.replace("    cluster_name: sea\n", "    cluster_name: sea\n" + lines, 1)
        self._idents += 1
        return Change(self._idents.to_bytes(16, "big"), "edit", base.version, 0, text, "root", 1, "a test")

    def propose(self, nodeid: NodeId, change: Change) -> bytes:
        """Have a node propose a change; its outcome goes to `outcomes`."""
        self.service(nodeid).propose(change, lambda outcome: self.outcomes.__setitem__(change.ident, outcome))
        return change.ident

    def step(self, nodeid: NodeId) -> bool:
        """One thing that this node has to do."""
        if self.ring.nodes[nodeid].host.shutdowns:
            return False
        return self.around[nodeid].answer() or self.ring.turn(nodeid)

    def settle(self) -> None:
        """Until nobody can do anything."""
        for _ in range(20_000):
            busy = [self.step(nodeid) for nodeid in self.ring.nodes]
            if not any(busy):
                return
            if all(self._stuck(nodeid) for nodeid in self.ring.nodes):
                return
        raise AssertionError("no end")

    def _stuck(self, nodeid: NodeId) -> bool:
        """Synchronizing, and waiting for what does not come."""
        node, around = self.ring.nodes[nodeid], self.around[nodeid]
        idle = not node.host.queue and not node.host.sync_queue and not around.questions
        waits = not around.disk.waiting or around.disk.held
        return idle and waits and node.host.syncing and not node.processed and self._blocked(nodeid)

    def _blocked(self, nodeid: NodeId) -> bool:
        members = self.ring.nodes[nodeid].members
        return any(
            self.around[other].disk.held or self.ring.nodes[other].ring != self.ring.nodes[nodeid].ring
            for other in members
        )

    def pass_time(self, seconds: float) -> None:
        """Time passes for all; nothing else happens but what waits for it."""
        for node in self.ring.nodes.values():
            node.host.now += seconds
            for name in list(node.host.timers):
                node.host.fire(name)

    def wait(self, seconds: float) -> None:
        """Time passes, and everything that can happen does."""
        for _ in range(round(seconds / 0.5)):
            self.pass_time(0.5)
            self.settle()

    def versions(self, *nodes: NodeId) -> list[int]:
        """What is in force."""
        return [self.around[nodeid].in_force[-1] for nodeid in nodes or sorted(self.around)]
