"""Closed process groups: processes join named groups and multicast to them in the total order."""

from totemd.services.cpg.events import (
    CpgChange,
    CpgDelivered,
    CpgGroup,
    CpgMember,
    CpgMembershipChanged,
    CpgPartialDelivered,
    TotemConfigurationChanged,
)
from totemd.services.cpg.local import EndpointState
from totemd.services.cpg.run import CpgRun, McastHead
from totemd.services.cpg.service import Cpg
from totemd.wire.cpg import CpgFragment, CpgReason

__all__ = [
    "Cpg",
    "CpgChange",
    "CpgDelivered",
    "CpgFragment",
    "CpgGroup",
    "CpgMember",
    "CpgMembershipChanged",
    "CpgPartialDelivered",
    "CpgReason",
    "CpgRun",
    "EndpointState",
    "McastHead",
    "TotemConfigurationChanged",
]
