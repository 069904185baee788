"""A machine that is booted: systemd as the first process of namespaces of its own, with totemd's units.

Its disk is this machine's, beneath a layer in memory that takes what is written, so that everything installed here is
there and nothing here changes. systemd is given only the units it needs, not this machine's. The daemon's interpreter
and packages are where an unprivileged user may read them: /lab.
"""

import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from totemd_lab.places import BOUND_TO_US, Bridge, LabError, Place
from totemd_lab.ring import wait_until

PATIENCE_S = 20.0
SERVING = ("starting", "running", "degraded")
ROOT = Path(__file__).parents[3]
TARGETS = (
    "basic",
    "sysinit",
    "shutdown",
    "sockets",
    "timers",
    "paths",
    "slices",
    "network",
    "network-online",
    "multi-user",
)
JOURNAL = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")
UNITS = [*(f"{name}.target" for name in TARGETS), *JOURNAL]
"""Units of systemd's own that others lean on."""

BOOT = """\
set -e
echo 0 >"$CGROUP/cgroup.procs"
mount -t tmpfs lab "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/root"
mount -t overlay lab -o "lowerdir=/,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
cd "$WORK/root"
mkdir -p lab lab/python lab/source lab/packages
mount -t tmpfs -o mode=755 lab lab
mkdir lab/python lab/source lab/packages lab/bin lab/out lab/units
mount --rbind "$PYTHON" lab/python
mount --rbind "$SOURCE" lab/source
mount --rbind "$PACKAGES" lab/packages
mount --rbind "$OUT" lab/out
cp -r "$GIVEN/." lab/
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 lab run
mount -t tmpfs -o mode=1777 lab tmp
mkdir -p .old
for device in null zero full random urandom tty; do
    echo "$device"
done >lab/devices
mount -t tmpfs -o mode=755 lab dev
mkdir dev/shm dev/pts
mount -t devpts -o ptmxmode=666 lab dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 lab dev/shm
while read -r device; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done <lab/devices
: >dev/console
mount --bind "$OUT/console" dev/console
rm -rf etc/corosync var/lib/totemd var/log/journal etc/systemd etc/tmpfiles.d
mkdir -p etc/corosync etc/systemd etc/tmpfiles.d
[ ! -s lab/corosync.conf ] || cp lab/corosync.conf etc/corosync/corosync.conf
cp lab/source/packaging/tmpfiles.d/totemd.conf etc/tmpfiles.d/
rm -rf usr/local/lib/systemd
mkdir -p usr/local/lib/systemd
mv lab/installed usr/local/lib/systemd/system
hostname "$NAME"
pivot_root . .old
exec unshare --cgroup sh -ec '
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    umount -l /.old
    ip link set lo up
    until ip link show up dev eth0 2>/dev/null | grep -q eth0; do
        sleep 0.02
    done
    systemd-sysusers /lab/source/packaging/sysusers.d/totemd.conf
    export SYSTEMD_UNIT_PATH=/etc/systemd/system:/usr/local/lib/systemd/system:/lab/units
    systemctl enable $ENABLED
    exec env -i container=lab PATH=/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin "SYSTEMD_UNIT_PATH=$SYSTEMD_UNIT_PATH" \\
        /lib/systemd/systemd --unit=multi-user.target --log-target=journal --show-status=no'
"""

WRAPPER = """\
#!/bin/sh
export PYTHONPATH=/lab/source/src:/lab/source/protocol:/lab/packages PYTHONDONTWRITEBYTECODE=1
# Where its library is elsewhere by its own account.
export LD_LIBRARY_PATH=/lab/python/lib
exec /lab/python/bin/python3 -m {module} "$@"
"""


class BootedMachine:
    """One; `out` is a directory that it shares with us as /lab/out. A `Place`."""

    def __init__(
        self, name: str, bridge: Bridge, address: str, corosync_conf: str, units: dict[str, str], enabled: Sequence[str]
    ) -> None:
        """Power on, with a cable to `bridge`, until systemd answers. `units`: further unit files and drop-ins by name
        ("guest.service", "totemd.service.d/lab.conf"); those `enabled` are started by and by. With an empty
        `corosync_conf` there is none."""
        self._directory = Path(tempfile.mkdtemp(prefix="totemd-boot-"))
        self._cgroup = _unified_hierarchy() / f"totemd-lab-{os.getpid()}-{name}"
        self._popen: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self.out = self._directory / "out"
        self.out.mkdir()
        self.out.chmod(0o1777)
        (self.out / "console").touch()
        (self._directory / "disk").mkdir()
        self._write_given(corosync_conf, units)
        self._cgroup.mkdir()
        try:
            self._boot(name, bridge, address, enabled)
        except BaseException:
            self.close()
            raise

    def _write_given(self, corosync_conf: str, units: dict[str, str]) -> None:
        given = self._directory / "given"
        (given / "bin").mkdir(parents=True)
        (given / "units").mkdir()
        (given / "installed").mkdir()
        (given / "corosync.conf").write_text(corosync_conf)
        for unit in UNITS:
            shutil.copy(f"/lib/systemd/system/{unit}", given / "units")
        for unit in ("totemd.service", "totemd-quorum.service", "totemd-quorum.target"):
            text = (ROOT / "packaging" / "systemd" / unit).read_text()
            # systemd looks for commands where distributions have them; ours are elsewhere.
            text = text.replace("ExecStart=totem", "ExecStart=/lab/bin/totem")
            (given / "installed" / unit).write_text(text)
        journal = {"sysinit.target.d/journal.conf": "[Unit]\nWants=systemd-journald.service\n"}
        for unit, text in {**journal, **units}.items():
            path = given / "units" / unit
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        for command, module in (("totemd", "totemd.cli.daemon"), ("totemctl", "totemd.cli.ctl")):
            path = given / "bin" / command
            path.write_text(WRAPPER.format(module=module))
            path.chmod(0o755)

    def _boot(self, name: str, bridge: Bridge, address: str, enabled: Sequence[str]) -> None:
        namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        self._popen = subprocess.Popen(
            [*BOUND_TO_US, "unshare", *namespaces, "sh", "-c", BOOT],
            stdin=subprocess.DEVNULL,
            stdout=(self.out / "console").open("ab"),
            stderr=subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"],
                "NAME": name,
                "ENABLED": " ".join(enabled),
                "CGROUP": str(self._cgroup),
                "WORK": str(self._directory / "disk"),
                "GIVEN": str(self._directory / "given"),
                "OUT": str(self.out),
                "PYTHON": sys.base_prefix,
                "SOURCE": str(ROOT),
                "PACKAGES": site.getsitepackages()[0],
            },
        )
        self.pid = self._first_process()
        bridge.attach(self, address)
        if not wait_until(lambda: self.systemctl("is-system-running")[1].strip() in SERVING, PATIENCE_S):
            raise LabError(f"does not boot:\n{self.journal()}")

    def _first_process(self) -> int:
        """Of the namespaces, by our number."""
        assert self._popen is not None
        children = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children")
        found: list[str] = []

        def begun() -> bool:
            found[:] = children.read_text().split()
            return bool(found)

        if not wait_until(begun, PATIENCE_S, 0.01):
            raise LabError(f"does not boot:\n{self.journal()}")
        return int(found[0])

    def command(self, argv: Sequence[str]) -> list[str]:
        namespaces = ["--mount", "--net", "--pid", "--uts", "--ipc"]
        return [*BOUND_TO_US, "nsenter", f"--target={self.pid}", *namespaces, "--", *argv]

    @property
    def place(self) -> Place:
        """Itself."""
        return self

    def run(self, *argv: str, timeout_s: float = 20.0) -> tuple[int, str]:
        """A command there, as root. Its exit status, and what it printed."""
        path = {"PATH": "/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        result = subprocess.run(
            self.command(argv), capture_output=True, text=True, timeout=timeout_s, check=False, env=path
        )
        return result.returncode, result.stdout + result.stderr

    def systemctl(self, *argv: str) -> tuple[int, str]:
        """Of its service manager."""
        return self.run("systemctl", "--no-pager", *argv)

    def property(self, unit: str, name: str) -> str:
        """What its service manager says of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit)[1].strip()

    def journal(self) -> str:
        """What systemd and the services have to say."""
        text = (self.out / "console").read_text(errors="replace")
        return text + self.run("journalctl", "--no-pager", "--output=short-monotonic")[1] if self.pid else text

    def close(self) -> None:
        """Pull the plug, and remove everything. Idempotent."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
        deadline = time.monotonic() + 5
        while self._cgroup.exists() and time.monotonic() < deadline:
            for directory, _, _ in os.walk(self._cgroup, topdown=False):
                with suppress(OSError):
                    Path(directory).rmdir()
            time.sleep(0.02)
        shutil.rmtree(self._directory, ignore_errors=True)


def _unified_hierarchy() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(path)
    raise LabError("no cgroup2 hierarchy is mounted")
