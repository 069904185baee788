"""corosync's own quorum device, unmodified: a qnetd on the ring's network, and a qdevice beside each node."""

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from totemd_lab.nodes import Node
from totemd_lab.places import LabError, Namespace, Process, run
from totemd_lab.ring import Lab, wait_until

CLUSTER = "lab"
"""As in the ring's configuration; the nodes' certificate is for it."""

PROGRAMS = ("corosync-qnetd", "corosync-qdevice", "corosync-qnetd-certutil", "corosync-qdevice-net-certutil")

ETC = Path("/etc/corosync")
SERVER_DATABASE = ETC / "qnetd/nssdb"
NODE_DATABASE = ETC / "qdevice/net/nssdb"
RUN_DIRECTORIES = ("/run/corosync-qnetd", "/run/corosync-qdevice")


def missing_programs() -> str | None:
    """Why there can be no quorum device on this machine, or None."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"needs {program} (Debian's corosync-qnetd and corosync-qdevice)"
    return None


def _prepare(place: Namespace) -> None:
    """Its own /etc/corosync, and the directories that a service manager would make."""
    run(place, ["mount", "-t", "tmpfs", "lab", str(ETC)])
    run(place, ["mkdir", "-p", *RUN_DIRECTORIES])


class Qnetd:
    """The arbiter, at its own address. Certificates for every node are made and imported at once, which takes a while;
    nothing else is started by the constructor."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.place, self.address = lab.add_stranger()
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._process: Process | None = None
        _prepare(self.place)
        run(self.place, ["corosync-qnetd-certutil", "-i", "-G"], timeout_s=60)
        self._certify(lab.nodes)

    def _certify(self, nodes: list[Node]) -> None:
        authority, request, signed = (self._directory / name for name in ("ca.crt", "node.crq", "cluster.crt"))
        bundle = self._directory / "node.p12"
        certutil = "corosync-qdevice-net-certutil"
        run(self.place, ["cp", str(SERVER_DATABASE / "qnetd-cacert.crt"), str(authority)])
        for node in nodes:
            assert isinstance(node.place, Namespace)
            _prepare(node.place)
            run(node.place, [certutil, "-i", "-c", str(authority)], timeout_s=60)
        first = nodes[0].place
        run(first, [certutil, "-r", "-n", CLUSTER], timeout_s=60)
        run(first, ["cp", str(NODE_DATABASE / "qdevice-net-node.crq"), str(request)])
        run(self.place, ["corosync-qnetd-certutil", "-s", "-c", str(request), "-n", CLUSTER], timeout_s=60)
        run(self.place, ["cp", str(SERVER_DATABASE / f"cluster-{CLUSTER}.crt"), str(signed)])
        run(first, [certutil, "-M", "-c", str(signed)], timeout_s=60)
        run(first, ["cp", str(NODE_DATABASE / "qdevice-net-node.p12"), str(bundle)])
        for node in nodes[1:]:
            run(node.place, [certutil, "-m", "-c", str(bundle)], timeout_s=60)

    def start(self) -> None:
        self._process = Process(self.place, ["corosync-qnetd", "-f", "-d", "-s", "req"], self._directory / "log")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.close()

    def log_text(self) -> str:
        with suppress(FileNotFoundError):
            return (self._directory / "log").read_text(errors="replace")
        return ""


class Qdevice:
    """The device of one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._process: Process | None = None
        self.log = node.directory / "qdevice.log"

    def start(self) -> None:
        self._process = Process(self.node.place, ["corosync-qdevice", "-f", "-d"], self.log)

    def kill(self) -> None:
        """End it as a crash would: the daemon is not told."""
        if self._process is not None:
            self._process.close()

    def running(self) -> bool:
        return self._process is not None and self._process.running()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def device_section(host: str, **more: str) -> str:
    """Section quorum.device of corosync.conf; `more` are keys of it, those of section net with "net_" in front."""
    net = {"host": host, "algorithm": "ffsplit", "tls": "required"}
    own = {"model": "net", "votes": "1"}
    for key, value in more.items():
        (net if key.startswith("net_") else own)[key.removeprefix("net_")] = value
    lines = [f"        {key}: {value}\n" for key, value in own.items()]
    lines += ["        net {\n", *(f"            {key}: {value}\n" for key, value in net.items()), "        }\n"]
    return f"    device {{\n{''.join(lines)}    }}\n"


def add_device(lab: Lab, host: str, **more: str) -> None:
    """Put a quorum device into every node's configuration."""
    for node in lab.nodes:
        text = node.conf.read_text()
        node.conf.write_text(re.sub(r"^quorum \{\n", f"quorum {{\n{device_section(host, **more)}", text, flags=re.M))


def wait_votes(lab: Lab, nodes: Iterable[Node], condition: str, timeout_s: float = 30.0) -> dict[int, str]:
    """Wait until corosync-quorumtool beside all nodes prints what matches. Returns what it printed by node."""
    chosen = list(nodes)
    printed: dict[int, str] = {}

    def seen() -> bool:
        for node in chosen:
            result = run(node.place, ["corosync-quorumtool", "-s"], check=False)
            printed[node.nodeid] = result.stdout + result.stderr
        return all(re.search(condition, text, re.M | re.S) for text in printed.values())

    if not wait_until(seen, timeout_s, 0.2):
        raise LabError(f"never {condition!r}:\n{printed}\n{lab.describe()}")
    return printed
