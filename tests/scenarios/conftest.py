"""`pytest tests/scenarios --rewrite` writes what happens into the transcripts; look at the difference before you keep
it."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the actual output into tests/scenarios/*.txt")
