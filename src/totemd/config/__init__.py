"""corosync.conf: its text read, checked and turned into the `Configuration` that the rest of totemd works from."""

from totemd.config.load import load
from totemd.config.model import (
    AccessSettings,
    CmapEntry,
    CmapType,
    CmapValue,
    Configuration,
    ConfigWarning,
    LoggingSettings,
    NodeEntry,
    QuorumSettings,
    RemovedNode,
    SealSettings,
    SystemSettings,
    TieBreaker,
    TotemParameters,
    TransportKind,
    TransportSettings,
)
from totemd.config.reload import Change, ReloadPlan, compare

__all__ = [
    "AccessSettings",
    "Change",
    "CmapEntry",
    "CmapType",
    "CmapValue",
    "ConfigWarning",
    "Configuration",
    "LoggingSettings",
    "NodeEntry",
    "QuorumSettings",
    "ReloadPlan",
    "RemovedNode",
    "SealSettings",
    "SystemSettings",
    "TieBreaker",
    "TotemParameters",
    "TransportKind",
    "TransportSettings",
    "compare",
    "load",
]
