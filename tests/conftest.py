"""Settings for all tests."""

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair (bench/ measures); a busy one must not fail a test.
settings.register_profile("totemd", deadline=None, print_blob=True)
settings.load_profile("totemd")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/scenarios --rewrite`; look at the difference before you keep it."""
    parser.addoption("--rewrite", action="store_true", help="write what happens into tests/scenarios/*.txt")
