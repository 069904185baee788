"""Debian's pacemaker on a node of the laboratory, with directories of its own."""

import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

from totemd_lab.nodes import Node
from totemd_lab.places import Namespace, Process, run

INSTALLED = all(shutil.which(program) for program in ("pacemakerd", "crm_mon", "attrd_updater"))

DIRECTORIES = """\
set -e
mount -t tmpfs lab /var/lib/pacemaker
mount -t tmpfs lab /var/log
own() {{ install -d -o hacluster -g haclient -m "$@"; }}
own 750 /var/lib/pacemaker/cib /var/lib/pacemaker/pengine /var/lib/pacemaker/blackbox /var/lib/pacemaker/cores
own 770 /var/log/pacemaker /run/crm
cibadmin --empty | sed 's,<crm_config/>,{options},' >/var/lib/pacemaker/cib/cib.xml
chown hacluster:haclient /var/lib/pacemaker/cib/cib.xml
chmod 600 /var/lib/pacemaker/cib/cib.xml
"""

OPTIONS = (
    '<crm_config><cluster_property_set id="options">'
    '<nvpair id="deadtime" name="dc-deadtime" value="2s"/>'
    "</cluster_property_set></crm_config>"
)
"""By default it waits twenty seconds for a coordinator before it elects one."""

PROGRAMS = "/usr/lib/pacemaker/"
ENVIRONMENT = {"PCMK_logfile": "none", "PCMK_logfacility": "none", "PCMK_stderr": "1"}


class Pacemaker:
    """One node's."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.log = node.directory / "pacemaker.log"
        run(node.place, ["sh", "-c", DIRECTORIES.format(options=OPTIONS)])
        self._process = Process(node.place, ["pacemakerd"], self.log, ENVIRONMENT)

    def command(self, *argv: str) -> str:
        """What one of its commands prints beside the node, whatever its exit status."""
        result = run(self._node.place, argv, check=False)
        return result.stdout + result.stderr

    def online(self) -> list[str]:
        """The nodes that it calls online, once it has elected a coordinator."""
        text = self.command("crm_mon", "-1")
        found = re.search(r"Online: \[ (.*) \]", text)
        return found[1].split() if found and "Current DC: n" in text else []

    def has_quorum(self) -> bool:
        """Whether it believes its partition has quorum."""
        return "partition with quorum" in self.command("crm_mon", "-1")

    def stop(self) -> int:
        """Have it end all its parts. Returns the exit status."""
        self._process.signal(signal.SIGTERM)
        return self._process.wait(30)

    def close(self) -> None:
        """Kill what is left of it: parts of it survive their parent. Idempotent."""
        self._process.close()
        for pid in _parts(self._node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _parts(node: Node) -> list[int]:
    """Process ids of pacemaker's parts in the node's own mount namespace."""
    assert isinstance(node.place, Namespace)
    home = os.readlink(f"/proc/{node.place.pid}/ns/mnt")
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(directory / "ns/mnt") == home and PROGRAMS in (directory / "cmdline").read_text():
                found.append(int(directory.name))
        except OSError:
            continue  # it has ended
    return found
