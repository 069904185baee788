"""Fixtures of the integration tests, and when they are skipped.

A test that cannot run here is skipped with its reason; where CI is set everything has to run, so there it fails.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.loads import SOURCE, compile_client
from totemd_lab.ring import Lab, LabMaker, free_udp_port


def _missing(item: pytest.Item) -> str | None:
    """Why the test cannot run here, or None."""
    if item.get_closest_marker("root") is not None:
        if os.geteuid() != 0:
            return "needs root for network namespaces"
        for tool in ("ip", "nft", "nsenter", "unshare", "setpriv"):
            if shutil.which(tool) is None:
                return f"needs {tool} (packages iproute2, nftables, util-linux)"
    if item.get_closest_marker("corosync") is not None:
        if shutil.which("corosync") is None:
            return "needs Debian's corosync"
        if shutil.which("gcc") is None or not Path("/usr/include/corosync/cpg.h").exists():
            return "needs gcc and libcpg-dev"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = _missing(item)
    if reason is not None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(reason)


@pytest.fixture(scope="session")
def libcpg_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load program for corosync nodes."""
    return compile_client(SOURCE, tmp_path_factory.mktemp("bin"))


@pytest.fixture
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabMaker]:
    """Builds rings in namespaces: make_lab("CTC", RingSettings(...)). All are removed at the test's end."""
    with ExitStack() as labs:

        def make(kinds: str, settings: RingSettings | None = None) -> Lab:
            # Not tmp_path: a socket's path must stay below 108 bytes.
            return labs.enter_context(closing(Lab(tmp_path_factory.mktemp("lab"), kinds, settings)))

        yield make


@pytest.fixture
def make_loopback_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabMaker]:
    """Builds rings of totemd nodes on 127.0.0.0/8, which need no privilege, on a free port."""
    with ExitStack() as labs:

        def make(kinds: str, settings: RingSettings | None = None) -> Lab:
            chosen = replace(settings or RingSettings(transport="udpu"), port=free_udp_port())
            return labs.enter_context(closing(Lab(tmp_path_factory.mktemp("lab"), kinds, chosen, bridged=False)))

        yield make
