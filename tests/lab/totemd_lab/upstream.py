"""A defect of real nodes that no peer can prevent, and how tests live with it.

corosync 3.1.7 aborts (`range < QUEUE_RTR_ITEMS_SIZE_MAX`) when a join that it drains in front of a token reaches it in
RECOVERY; rings of real nodes alone do so, too. Tests with real nodes are played again when, and only when, one of them
has ended so; that is reported as a warning.
"""

import functools
import warnings
from collections.abc import Callable

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.ring import Lab, LabMaker

ABORT = "QUEUE_RTR_ITEMS_SIZE_MAX' failed"
ATTEMPTS = 3


def aborted(lab: Lab) -> bool:
    """Whether a real node of this ring has ended by its own assertion."""
    return any(ABORT in node.log_text(whole=True) for node in lab.of_kind("C"))


def again_when_a_real_node_aborts(test: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a test that takes the fixture `make_lab`."""

    @functools.wraps(test)
    def play(make_lab: LabMaker, **others: object) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            labs: list[Lab] = []

            def make(kinds: str, settings: RingSettings | None = None, labs: list[Lab] = labs) -> Lab:
                labs.append(make_lab(kinds, settings))
                return labs[-1]

            try:
                test(make_lab=make, **others)
                return
            except (Exception, pytest.fail.Exception):
                if attempt == ATTEMPTS or not any(map(aborted, labs)):
                    raise
            for lab in labs:
                lab.close()
            warnings.warn(f"a real corosync node aborted in {test.__name__} ({ABORT}); played again", stacklevel=1)

    return play
