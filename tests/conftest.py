"""Settings for all tests."""

import signal

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair (bench/ measures); a busy one must not fail a test.
settings.register_profile("totemd", deadline=None, print_blob=True)
settings.load_profile("totemd")

# A shell that starts us in the background has us ignore Ctrl-C, and so would programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/scenarios --rewrite`; look at the difference before you keep it."""
    parser.addoption("--rewrite", action="store_true", help="write what happens into tests/scenarios/*.txt")
