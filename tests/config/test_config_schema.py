"""The table of directives, and the manual pages it follows."""

import pytest

from totemd.config.directives import SCHEMA
from totemd.config.model import CmapEntry, CmapType
from totemd.config.schema import INTEGER_RANGES, Directive, Status, typed


def test_places_are_unique() -> None:
    places = [(directive.section, directive.key) for directive in SCHEMA.directives]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("directive", SCHEMA.directives, ids=lambda d: f"{d.section}.{d.key}")
def test_rows_are_consistent(directive: Directive) -> None:
    assert directive.default
    assert bool(directive.note) == (directive.status is not Status.OBEYED)
    if directive.type is CmapType.STRING:
        assert set(directive.harmless) <= set(directive.choices) or not directive.choices
    else:
        low, high = INTEGER_RANGES[directive.type]
        assert low <= directive.minimum < directive.maximum <= high or directive.key == "version"


def _integer(text: str) -> CmapEntry:
    return typed(Directive("s", "k", CmapType.U8, "", 0, 255), text)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("255", 255), ("+7", 7), ("010", 10), ("-0", 0)])
def test_integers_are_decimal(text: str, number: int) -> None:
    assert _integer(text) == CmapEntry(CmapType.U8, number)


@pytest.mark.parametrize("text", ["", "256", "-1", "0x10", "1 ", "1_0", "٣", "1.0", "9" * 19, "9" * 400])
def test_other_texts_are_no_integers(text: str) -> None:
    with pytest.raises(ValueError, match=r"range \(0\.\.255\)"):
        _integer(text)


def test_advice() -> None:
    assert SCHEMA.nearest_key("totem", "tokem") == "did you mean token?"
    assert SCHEMA.nearest_key("quorum", "two_nodes") == "did you mean two_node?"
    assert SCHEMA.nearest_key("totem", "two_node") == "this key belongs in section quorum"
    assert SCHEMA.nearest_key("nodelist", "ring0_addr") == "this key belongs in section nodelist.node"
    assert SCHEMA.nearest_key("totem", "x" * 500) == ""
    assert SCHEMA.nearest_section("nodelist.nod") == "did you mean nodelist.node?"
