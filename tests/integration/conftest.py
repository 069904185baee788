"""Fixtures of the integration tests, and when they are skipped."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.loads import SOURCE, compile_client
from totemd_lab.players import LIBRARIES, compile_players
from totemd_lab.requirements import require
from totemd_lab.ring import Lab, LabMaker, free_udp_port


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    require(item)


@pytest.fixture(scope="session")
def libcpg_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load program for corosync nodes."""
    return compile_client(SOURCE, tmp_path_factory.mktemp("bin"))


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """The programs that are led call by call, where every user can reach them."""
    missing = [library for library in LIBRARIES if not Path(f"/usr/include/corosync/{library}.h").exists()]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"needs {', '.join(f'lib{library}-dev' for library in missing)}")
    with tempfile.TemporaryDirectory(prefix="totemd-players-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        compile_players(directory)
        yield directory


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
