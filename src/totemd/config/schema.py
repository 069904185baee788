"""What each directive of corosync.conf(5) and votequorum(5) may say, and what totemd does about it.

The table is in `directives`; here are its vocabulary, the check of one value, and the search for the key that an
unknown one was meant to be.
"""

import difflib
import re
from enum import Enum

from totemd.config.model import CmapEntry, CmapType
from totemd.record import record


class Status(Enum):
    """What totemd does with a directive."""

    OBEYED = "obeyed"
    IGNORED = "accepted with a warning unless the value asks for nothing (`harmless`)"
    REFUSED = "an error unless the value asks for nothing: silence would make the cluster unsafe"


class Reload(Enum):
    """What a changed value does when the file is read again."""

    EFFECTIVE = "takes effect"
    RESTART = "kept until the daemon is restarted"


@record
class Directive:
    """One key of one section. `section` and `key` are as in the file; `ring#_addr` stands for every link number."""

    section: str
    key: str
    type: CmapType
    default: str
    """What absence means, for people."""
    minimum: int = 0
    maximum: int = 0
    """Inclusive range of integers."""
    choices: tuple[str, ...] = ()
    """All allowed words, or () for any text."""
    transports: tuple[str, ...] = ("udp", "udpu", "knet")
    status: Status = Status.OBEYED
    harmless: tuple[str, ...] = ()
    """Values of an ignored or refused directive that ask for nothing but what totemd does anyway."""
    note: str = ""
    """For ignored and refused ones: why, and what to do."""
    reload: Reload = Reload.RESTART


INTEGER_RANGES = {
    CmapType.U8: (0, 2**8 - 1),
    CmapType.U16: (0, 2**16 - 1),
    CmapType.I32: (-(2**31), 2**31 - 1),
    CmapType.U32: (0, 2**32 - 1),
    CmapType.U64: (0, 2**63 - 1),
}
"""Integer types of the file; corosync reads every number as a signed 64-bit one."""

WORD_SIZE_MAX = 60
"""Longer unknown words are not compared with known ones: comparing costs time, and they are nobody's typing error."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def typed(directive: Directive, text: str) -> CmapEntry:
    """`text` as the directive's type. Raises ValueError with what was found and what is allowed."""
    if directive.type is CmapType.STRING:
        if directive.choices and text not in directive.choices:
            raise ValueError(f'expected {_either(directive.choices)}, but "{text}" was given')
        return CmapEntry(CmapType.STRING, text)
    number = int(text) if _INTEGER.fullmatch(text) else None
    if number is None or not directive.minimum <= number <= directive.maximum:
        allowed = f"({directive.minimum}..{directive.maximum})"
        raise ValueError(f'expected an integer in range {allowed}, but "{text}" was given')
    return CmapEntry(directive.type, number)


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


_LINK_ADDRESS = re.compile(r"ring([0-9]{1,3})_addr")


def link_number(key: str) -> int | None:
    """X of `ringX_addr`, or None for another key."""
    found = _LINK_ADDRESS.fullmatch(key)
    return int(found.group(1)) if found else None


class Schema:
    """The table of directives, searchable."""

    def __init__(self, directives: tuple[Directive, ...], free_sections: tuple[str, ...]) -> None:
        self.directives = directives
        self.free_sections = free_sections
        """Sections whose keys belong to other programs (the quorum device's): kept as strings, not judged."""
        self._by_place = {(directive.section, directive.key): directive for directive in directives}
        self._sections = {directive.section for directive in directives} | set(free_sections)

    def find(self, section: str, key: str) -> Directive | None:
        """The directive of `key` in `section`, or None when nobody knows it."""
        if section == "nodelist.node" and link_number(key) is not None:
            key = "ring#_addr"
        return self._by_place.get((section, key))

    def is_free(self, section: str) -> bool:
        """Whether `section` (or one around it) holds keys of other programs."""
        return any(section == free or section.startswith(free + ".") for free in self.free_sections)

    def knows_section(self, section: str) -> bool:
        """Whether any directive lives in `section` or below."""
        return self.is_free(section) or any(s == section or s.startswith(section + ".") for s in self._sections)

    def nearest_key(self, section: str, key: str) -> str:
        """Advice about an unknown key: the same key elsewhere, the closest spelling here, or ""."""
        if link_number(key) is not None:
            key = "ring#_addr"
        elsewhere = [directive.section for directive in self.directives if directive.key == key]
        if elsewhere:
            return f"this key belongs in section {elsewhere[0]}"
        here = tuple(directive.key for directive in self.directives if directive.section == section)
        return _closest(key, here, "did you mean {}?")

    def nearest_section(self, section: str) -> str:
        """Advice about an unknown section, or ""."""
        return _closest(section, tuple(sorted(self._sections)), "did you mean {}?")


def _closest(word: str, known: tuple[str, ...], text: str) -> str:
    if len(word) > WORD_SIZE_MAX:
        return ""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return text.format(found[0]) if found else ""
