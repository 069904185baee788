"""The configuration map: typed keys that clients and the daemon share on one node; and the map of statistics."""

from totemd.services.cmap.live import LiveKeys
from totemd.services.cmap.service import Cmap
from totemd.services.cmap.statistics import Statistics
from totemd.services.cmap.tracking import ALL_KINDS, CmapChanged, TrackKind

__all__ = ["ALL_KINDS", "Cmap", "CmapChanged", "LiveKeys", "Statistics", "TrackKind"]
