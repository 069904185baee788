"""When the tests of the benchmark are skipped."""

import pytest

from totemd_lab.requirements import require


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    require(item)
