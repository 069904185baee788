"""A ring under test: nodes of both kinds with one configuration on one network."""

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from totemd_lab.configuration import Member, RingSettings, corosync_conf
from totemd_lab.nodes import CorosyncNode, Node, TotemdNode, View
from totemd_lab.places import Bridge, LabError, Machine, Namespace, Place

STAGGER_S = 0.3
"""Between starts in a ring with real nodes. They abort when a join reaches them while a part of them has installed a
ring and the rest is still in recovery, so no newcomer may come within a millisecond of another."""

POLL_S = 0.05

SLOWNESS = float(os.environ.get("TOTEMD_LAB_SLOWNESS", "1"))
"""How many times longer than on an idle two-core machine everything may take."""


class Lab:
    """Nodes of one ring, numbered from 1, at the settings' addresses (or on 127.0.0.0/8 when `bridged` is false).

    `kinds` has a letter for each node: "C" corosync, "T" totemd. Nothing is started by the constructor.
    """

    def __init__(
        self, directory: Path, kinds: str, settings: RingSettings | None = None, *, bridged: bool = True
    ) -> None:
        self.settings = settings or RingSettings()
        self.directory = directory
        self.nodes: list[Node] = []
        self._places: list[Namespace] = []
        self._bridge: Bridge | None = None
        network = self.settings.network if bridged else _loopback_network()
        self.members = [Member(nodeid, network.format(nodeid)) for nodeid in range(1, len(kinds) + 1)]
        try:
            if bridged:
                self._bridge = Bridge()
            for member, kind in zip(self.members, kinds, strict=True):
                self._add(member, kind)
        except BaseException:
            self.close()
            raise

    def _add(self, member: Member, kind: str) -> None:
        place: Place = Machine()
        if self._bridge is not None:
            place = namespace = Namespace()
            self._places.append(namespace)
            self._bridge.attach(namespace, f"{member.address}/{self.settings.prefix_length}")
        elif kind == "C":
            raise LabError("corosync has fixed paths and needs a namespace")
        directory = self.directory / member.name
        directory.mkdir(parents=True)
        node = CorosyncNode(member, place, directory) if kind == "C" else TotemdNode(member, place, directory)
        self.nodes.append(node)
        self.configure(node, self.settings)

    def add_stranger(self) -> tuple[Namespace, str]:
        """A place on the network that no nodelist knows, and its address."""
        assert self._bridge is not None
        place = Namespace()
        self._places.append(place)
        address = "10.78.0.200"
        self._bridge.attach(place, f"{address}/24")
        return place, address

    def configure(self, node: Node, settings: RingSettings) -> None:
        """Write a node's configuration file."""
        text = corosync_conf(self.members, settings, str(node.state), str(node.directory / "corosync.log"))
        node.conf.write_text(text)

    def node(self, nodeid: int) -> Node:
        """The node with that number."""
        return self.nodes[nodeid - 1]

    def of_kind(self, kind: str) -> list[Node]:
        """All nodes of one kind, ascending."""
        return [node for node in self.nodes if node.kind == kind]

    def plug(self, node: Node, *, up: bool) -> None:
        """Put the node's cable in, or pull it: its address stays, nothing passes."""
        assert self._bridge is not None
        self._bridge.set_port(node.nodeid, up)

    def start(self, nodes: Iterable[Node] | None = None) -> float:
        """Start nodes (default: all): in the same instant, unless corosync is among the ring's nodes.

        Returns when the last was started, by time.monotonic().
        """
        pause_s = STAGGER_S if self.of_kind("C") else 0.0
        for index, node in enumerate(self.nodes if nodes is None else nodes):
            if index:
                time.sleep(pause_s)
            node.start()
        return time.monotonic()

    def running(self) -> list[Node]:
        """Nodes whose daemon runs."""
        return [node for node in self.nodes if node.running()]

    def wait_formed(self, nodes: Sequence[Node] | None = None, timeout_s: float = 20.0) -> View:
        """Wait until exactly these nodes (default: all that run) form one ring in their own eyes, all of them.

        Returns the common view. Raises LabError with everyone's view and log when it does not happen.
        """
        chosen = list(self.running() if nodes is None else nodes)
        expected = tuple(node.nodeid for node in chosen)
        views: list[View | None] = []
        seen: list[bool] = []

        def formed() -> bool:
            views[:] = [node.view() for node in chosen]
            first = views[0]
            return first is not None and first.members == expected and all(view == first for view in views)

        def settled() -> bool:
            # Looked at once only: by the next look the ring may be under way to another one again.
            seen.append(formed())
            return seen[-1] or not all(node.running() for node in chosen)

        if not (wait_until(settled, timeout_s) and seen[-1]):
            raise LabError(f"no ring of {expected} within {timeout_s} s:\n{self.describe()}")
        assert views[0] is not None
        return views[0]

    def describe(self, log_lines: int = 25) -> str:
        """Everyone's view and the end of everyone's log, for a failure's message."""
        parts = []
        for node in self.nodes:
            state = str(node.view()) if node.running() else "does not run"
            # Dropped datagrams can be many, and are seldom what one looks for.
            lines = [line for line in node.log_text(whole=True).splitlines() if "datagram from" not in line]
            tail = "\n    ".join(lines[-log_lines:])
            parts.append(f"{node!r}: {state}\n    {tail}")
        return "\n".join(parts)

    def close(self) -> None:
        """Kill everything and remove the network. Idempotent."""
        for node in self.nodes:
            node.close()
        for place in self._places:
            place.close()
        if self._bridge is not None:
            self._bridge.close()


class LabMaker(Protocol):
    """The fixtures `make_lab` and `make_loopback_lab`: build a ring's nodes without starting them."""

    def __call__(self, kinds: str, settings: RingSettings | None = None) -> Lab: ...


def wait_until(condition: Callable[[], bool], timeout_s: float, poll_s: float = POLL_S) -> bool:
    """Poll until the condition holds; the time is stretched by SLOWNESS. Returns whether it came to hold."""
    deadline = time.monotonic() + timeout_s * SLOWNESS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
    return True


def _loopback_network() -> str:
    """A /24 of 127.0.0.0/8 for this process alone, so that test runs side by side do not meet."""
    pid = os.getpid()
    return f"127.{1 + pid // 250 % 250}.{pid % 250}.{{}}"


def free_udp_port() -> int:
    """A port P such that P and P-1 are free now."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upper:
            upper.bind(("127.0.0.1", 0))
            port: int = upper.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lower:
                try:
                    lower.bind(("127.0.0.1", port - 1))
                except OSError:
                    continue
                return port
