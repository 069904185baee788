"""Settings for all tests."""

import signal
from typing import Any

import pytest
from hypothesis import settings

import lanes

# How long an example takes is the machine's affair (bench/ measures); a busy one must not fail a test.
settings.register_profile("totemd", deadline=None, print_blob=True)
settings.load_profile("totemd")

# A shell that starts us in the background has us ignore Ctrl-C, and so would programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/scenarios --rewrite`; look at the difference before you keep it."""
    parser.addoption("--rewrite", action="store_true", help="write what happens into tests/scenarios/*.txt")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Any:
    return lanes.scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if lanes.is_worker():
        items.sort(key=lanes.turn)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Before the fixtures of the test are set up, for they start daemons, too."""
    lanes.set_priority(item)
