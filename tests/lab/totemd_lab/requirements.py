"""What tests with namespaces and real daemons need of the machine; for the conftest files that skip them.

A test that cannot run is skipped with its reason; where CI is set everything has to run, so there it fails.
"""

import os
import shutil
from pathlib import Path

import pytest

from totemd_lab.device import missing_programs


def require(item: pytest.Item) -> None:
    """Skip (in CI: fail) a test whose markers ask for what this machine has not got."""
    reason = _missing(item)
    if reason is not None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(reason)


def _missing(item: pytest.Item) -> str | None:
    """Why the test cannot run here, or None."""
    if item.get_closest_marker("root") is not None:
        if os.geteuid() != 0:
            return "needs root for network namespaces"
        for tool in ("ip", "nft", "nsenter", "unshare", "setpriv"):
            if shutil.which(tool) is None:
                return f"needs {tool} (packages iproute2, nftables, util-linux)"
    if item.get_closest_marker("systemd") is not None:
        # It runs in namespaces; what this machine was booted with does not matter.
        if not Path("/lib/systemd/systemd").exists() or shutil.which("systemd-sysusers") is None:
            return "needs the package systemd"
        if " cgroup2 " not in Path("/proc/self/mounts").read_text():
            return "needs a cgroup2 hierarchy"
    if item.get_closest_marker("corosync") is not None:
        if shutil.which("corosync") is None:
            return "needs Debian's corosync"
        if shutil.which("gcc") is None or not Path("/usr/include/corosync/cpg.h").exists():
            return "needs gcc and libcpg-dev"
    if item.get_closest_marker("qdevice") is not None:
        return missing_programs()
    return None
