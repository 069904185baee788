"""Three containers of the image as a cluster: `make image-test` (root, buildah; the image built by `make image`).

Each container has a network of its own, on one bridge, and its processes run in the image's file system as its user,
by buildah's chroot isolation. What is shown: they form a cluster, are healthy, order a message, keep quorum when one is
killed, and take it back. One runs under a user id that the image does not know. Everything made here is removed again.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from totemd_lab.configuration import Member, RingSettings, corosync_conf
from totemd_lab.places import Bridge, LabError, Namespace, Process
from totemd_lab.ring import wait_until

ROOT = Path(__file__).parents[2]
SETTINGS = RingSettings(mcast_address=None, token_ms=1000, token_coefficient_ms=0)
"""Plain multicast, with the address that follows from the cluster's name."""
STATE = "/var/lib/totemd"
OTHER_USER = "54321"
PATIENCE_S = 30.0


def buildah(*arguments: str) -> str:
    """Run it to its end, and give what it prints."""
    result = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LabError(f"buildah {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout.strip()


class Container:
    """One, with a network on the bridge."""

    def __init__(self, image: str, member: Member, bridge: Bridge, directory: Path, user: str | None) -> None:
        """`user`: whose its processes are; None: the image's own."""
        self.member = member
        self._user = user
        self._access = "ro"
        self._place = Namespace(mounts=())
        bridge.attach(self._place, f"{member.address}/24")
        self._configuration = directory / f"{member.name}.d"
        self._configuration.mkdir()
        self._log = directory / f"{member.name}.log"
        self.name = buildah("from", image)
        self.process: Process | None = None
        self.image = json.loads(buildah("inspect", self.name))["Docker"]["config"]

    def configure(self, text: str) -> None:
        """Its corosync.conf, which it may read only."""
        (self._configuration / "corosync.conf").write_text(text)

    def manage(self) -> None:
        """Let it have a configuration of its own, and change it."""
        user = self._user or str(self.image["User"])
        os.chown(self._configuration, *map(int, user.split(":")))
        self._access = "rw"

    def _run(self, argv: Sequence[str]) -> list[str]:
        mounts = ["--volume", f"{self._configuration}:/etc/corosync:{self._access}"]
        who = [] if self._user is None else ["--user", self._user]
        return ["buildah", "run", "--isolation", "chroot", "--network", "host", *mounts, *who, self.name, "--", *argv]

    def start(self) -> None:
        """Run the image's entry point."""
        self.process = Process(self._place, self._run(self.image["Entrypoint"]), self._log)

    def do(self, *argv: str) -> tuple[int, str]:
        """A command in the container."""
        command = self._place.command(self._run(argv))
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return result.returncode, result.stdout + result.stderr

    def healthy(self) -> bool:
        """By the image's own check."""
        kind, command = self.image["Healthcheck"]["Test"]
        assert kind == "CMD-SHELL"
        return self.do("sh", "-c", command)[0] == 0

    def members(self) -> list[int]:
        """Of its ring, as it sees them; none while it does not answer or has no quorum."""
        status, text = self.do("totemctl", "status", "--json")
        return sorted(member["nodeid"] for member in json.loads(text)["members"]) if status == 0 else []

    def daemon_pid(self) -> int:
        """Of the daemon, by this machine's number."""
        assert self.process is not None
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            words = path.read_bytes().split(b"\0") if path.exists() else []
            # Not buildah's own process, which waits for it under the same name.
            ours = words[1:2] == [b"/opt/totemd/bin/totemd"] and not words[0].startswith(b"buildah")
            if ours and _descends(int(path.parent.name), self.process.pid):
                return int(path.parent.name)
        raise LabError(f"{self.member.name} does not run:\n{self._log.read_text()}")

    def user(self) -> str:
        """Whose the daemon's process is."""
        found = re.search(r"^Uid:\t(\d+)", Path(f"/proc/{self.daemon_pid()}/status").read_text(), re.MULTILINE)
        assert found is not None
        return found[1]

    def log(self) -> str:
        """What it printed."""
        return self._log.read_text()

    def close(self) -> None:
        """Remove it."""
        if self.process is not None:
            if self.process.running():
                os.kill(self.daemon_pid(), signal.SIGTERM)
                self.process.wait(15)
            self.process.close()
        buildah("rm", self.name)
        self._place.close()


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False
        found = re.search(r"^PPid:\s+(\d+)$", status, re.MULTILINE)
        pid = int(found[1]) if found else 0
    return pid == ancestor


def expect(containers: Sequence[Container], members: list[int]) -> None:
    """Wait until they all see these members, with quorum."""
    began = time.monotonic()
    if not wait_until(lambda: all(one.members() == members for one in containers), PATIENCE_S):
        logs = "\n".join(f"{one.member.name}:\n{one.log()}" for one in containers)
        raise LabError(f"no ring of {members}:\n{logs}")
    names = ", ".join(one.member.name for one in containers)
    print(f"ok: {names} see members {members}, quorate ({time.monotonic() - began:.1f} s)", flush=True)


def make_containers(image: str, directory: Path, opened: ExitStack) -> list[Container]:
    """Three, on one bridge; the third with a user id that the image does not know."""
    bridge = opened.enter_context(closing(Bridge()))
    members = [Member(nodeid, SETTINGS.network.format(nodeid)) for nodeid in (1, 2, 3)]
    users = (None, None, f"{OTHER_USER}:0")
    return [
        opened.enter_context(closing(Container(image, member, bridge, directory, user)))
        for member, user in zip(members, users, strict=True)
    ]


def do(container: Container, *argv: str) -> str:
    """A command that must succeed. Returns what it prints."""
    status, text = container.do(*argv)
    if status != 0:
        raise LabError(f"{container.member.name}: {' '.join(argv)}: status {status}: {text}\n{container.log()}")
    return text


def play_given_configuration(containers: Sequence[Container]) -> None:
    """With one file for all, made by somebody else: they may only read it."""
    members = [one.member for one in containers]
    first, second, third = containers
    for one in containers:
        one.configure(corosync_conf(members, SETTINGS, STATE, ""))
        one.start()
    expect(containers, [1, 2, 3])
    assert all(one.healthy() for one in containers)
    found = [one.user() for one in containers]
    assert found == [first.image["User"].partition(":")[0]] * 2 + [OTHER_USER]
    print(f"ok: all three are healthy by the image's own check; their users are {found}", flush=True)
    do(second, "totemctl", "cpg", "send", "chat", "hello")
    print("ok: a message from n2 has come back in its place in the order", flush=True)
    os.kill(third.daemon_pid(), signal.SIGKILL)
    assert third.process is not None
    third.process.wait(10)
    expect([first, second], [1, 2])
    assert not third.healthy()
    print("ok: n3 is not healthy", flush=True)
    os.kill(second.daemon_pid(), signal.SIGTERM)
    assert second.process is not None
    ended = second.process.wait(10)
    assert ended == 0, f"status {ended}:\n{second.log()}"
    print("ok: SIGTERM ends n2 with status 0", flush=True)
    assert wait_until(lambda: first.do("totemctl", "status")[0] == 2, PATIENCE_S)
    assert first.healthy()
    print("ok: n1 has no quorum and stays healthy: restarting it would heal nothing", flush=True)
    second.start()
    third.start()
    expect(containers, [1, 2, 3])


def play_tickets(containers: Sequence[Container]) -> None:
    """From nothing, by tickets: a sealed cluster whose containers keep their configuration themselves."""
    first, *others = containers
    for one in containers:
        one.manage()
    do(first, "totemctl", "cluster", "create", "sea", "--node-name", first.member.name, "--token-ms", "1000")
    first.start()
    expect([first], [1])
    for count, one in enumerate(others, 2):
        ticket = do(first, "totemctl", "cluster", "invite").split()[0]
        do(one, "totemctl", "cluster", "join", ticket, "--node-name", one.member.name, "--no-start")
        one.start()
        expect(containers[:count], list(range(1, count + 1)))
    do(first, "totemctl", "cluster", "rotate-key")
    expect(containers, [1, 2, 3])
    print("ok: two have joined by tickets, and all three have a new key", flush=True)


def main() -> int:
    """Gives the exit status."""
    found = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    image = os.environ.get("IMAGE") or f"totemd:{found[1]}"
    size_bytes = json.loads(buildah("images", "--json", image))[0]["size"]
    print(f"image {image}: {size_bytes}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="totemd-image-") as name:
        Path(name).chmod(0o755)
        for title, play in (("given configuration", play_given_configuration), ("tickets", play_tickets)):
            print(f"{title}:", flush=True)
            with ExitStack() as opened:
                directory = Path(name) / play.__name__
                directory.mkdir()
                play(make_containers(image, directory, opened))
    print(f"ok: everything, in {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
