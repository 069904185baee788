"""The seal around every datagram of a sealed ring (protocol/, chapter "Sealed datagrams").

`Seal` encrypts what leaves a node, opens what arrives, and has a node that nobody here has met show who it is before
any of its packets counts. The library that encrypts is imported when a Seal is made: unsealed daemons never load it.
"""

from totemd.seal.datagram import OVERHEAD_BYTES, SESSION_SIZE
from totemd.seal.keys import Key, KeyRing, new_key
from totemd.seal.messages import CONTROL_SIZE_MAX, Credentials
from totemd.seal.seal import Seal
from totemd.seal.suite import SUITES
from totemd.seal.verdict import ADMITTED, Reason, Verdict, refused

__all__ = [
    "ADMITTED",
    "CONTROL_SIZE_MAX",
    "OVERHEAD_BYTES",
    "SESSION_SIZE",
    "SUITES",
    "Credentials",
    "Key",
    "KeyRing",
    "Reason",
    "Seal",
    "Verdict",
    "new_key",
    "refused",
]
