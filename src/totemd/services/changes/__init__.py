"""The configuration as replicated data: proposed, checked by all, decided on in one order, in force at once."""

from totemd.services.changes.api import Outcome, OutcomeDone, Surroundings
from totemd.services.changes.service import Changes

__all__ = ["Changes", "Outcome", "OutcomeDone", "Surroundings"]
