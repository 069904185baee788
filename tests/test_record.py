"""The decorator `record`: a slotted value class like a frozen dataclass."""

from dataclasses import dataclass, fields, is_dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.record import record


@record
class Pair:
    """Two fields, one of them with a default."""

    first: int
    second: str = "two"


@record
class Other:
    """The same fields in another class."""

    first: int
    second: str = "two"


@record
class Longer(Pair):
    """A field more than its base."""

    third: bytes = b""


@record
class Single:
    """One field, whose value might be mistaken for the record's."""

    value: tuple[int, str]


@record
class Nothing:
    """No field."""


@dataclass(slots=True, unsafe_hash=True)
class Model:
    """What `Pair` is to behave like."""

    first: int
    second: str = "two"


values = st.tuples(st.integers(-2, 2), st.sampled_from(["", "two"]))


@given(values, values)
def test_compares_and_hashes_like_a_dataclass(one: tuple[int, str], two: tuple[int, str]) -> None:
    assert (Pair(*one) == Pair(*two)) == (Model(*one) == Model(*two))
    assert (hash(Pair(*one)) == hash(Pair(*two))) == (hash(Model(*one)) == hash(Model(*two)))


@given(values)
def test_prints_like_a_dataclass(given: tuple[int, str]) -> None:
    assert repr(Pair(*given)) == repr(Model(*given)).replace("Model", "Pair")


def test_a_record_equals_only_its_own_kind() -> None:
    others: list[object] = [Pair(1), Other(1), Longer(1), Single((1, "two")), Nothing(), (1, "two"), (), None]
    for place, one in enumerate(others):
        assert [one == other for other in others] == [place == index for index in range(len(others))]
    assert len({Pair(1), Pair(1, "two"), Other(1), Nothing(), Nothing()}) == 3


def test_the_constructor_takes_fields_in_order_or_by_name() -> None:
    assert Pair(1) == Pair(first=1) == Pair(second="two", first=1)
    assert Longer(1, "2", b"3") == Longer(third=b"3", first=1, second="2")
    assert repr(Longer(1)) == "Longer(first=1, second='two', third=b'')"
    for wrong in (lambda: Pair(), lambda: Pair(1, "2", 3), lambda: Single()):  # type: ignore[call-arg] # wrong
        with pytest.raises(TypeError):
            wrong()


def test_has_slots_alone() -> None:
    with pytest.raises(AttributeError):
        Pair(1).more = 1  # type: ignore[attr-defined] # there is none
    assert not hasattr(Longer(1), "__dict__")


def test_the_tools_for_dataclasses_take_it() -> None:
    assert is_dataclass(Single)
    assert [field.name for field in fields(Longer)] == ["first", "second", "third"]
    assert replace(Longer(1), second="2") == Longer(1, "2")
    match Pair(1):
        case Pair(first=first, second=second):
            assert (first, second) == (1, "two")
