"""POSIX access lists (acl(5)): letting one more user at a file of ours, for which its owner needs no privilege.

A list is an extended attribute, a version and entries sorted by tag, in little endian on every machine.
"""

import os
from pathlib import Path
from struct import Struct
from typing import Final

READ: Final = 4
WRITE: Final = 2
ENTER: Final = 1

ATTRIBUTE: Final = "system.posix_acl_access"
_VERSION: Final = Struct("<I")
_ENTRY: Final = Struct("<HHI")
_OWNER, _USER, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY: Final = 0xFFFFFFFF


def let_in(what: Path | int, uid: int, permissions: int) -> None:
    """Give user `uid` and the owner `permissions`, and nobody else any. OSError where the file system has no lists."""
    entries = [
        (_OWNER, permissions, _NOBODY),
        (_USER, permissions, uid),
        (_GROUP, 0, _NOBODY),
        (_MASK, permissions, _NOBODY),
        (_OTHERS, 0, _NOBODY),
    ]
    os.setxattr(what, ATTRIBUTE, _VERSION.pack(2) + b"".join(_ENTRY.pack(*entry) for entry in entries))
