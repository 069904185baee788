"""Keys of the configuration map that the daemon counts elsewhere and writes into the map when somebody looks."""

from collections.abc import Callable, Mapping
from typing import Final

from totemd.config.model import CmapEntry

POLL_S: Final = 1.5
"""Between two looks at live keys that have trackers."""


class LiveKeys:
    """All keys under one prefix; `read` gives those whose value may have changed."""

    def __init__(self, prefix: str, read: Callable[[], Mapping[str, CmapEntry]]) -> None:
        self.prefix = prefix
        self.read = read

    def concern(self, prefix: str) -> bool:
        """Whether some of the keys may begin with `prefix`, or be it."""
        return prefix.startswith(self.prefix) or self.prefix.startswith(prefix)
