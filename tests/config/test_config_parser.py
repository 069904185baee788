"""The syntax of corosync.conf."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.config.document import Document
from totemd.config.parser import FILE_SIZE_MAX, Section, parse, value_of
from totemd.errors import ConfigError

T = TypeVar("T")

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "totem {",
                "interface {",
                "nodelist {",
                "node {",
                "quorum {",
                "device {",
                "logging {",
                "logger_subsys {",
                "uidgid {",
                "}",
                "} }",
                "{",
                ":",
                "key:",
                ": value",
                "subsys: CPG",
                "linknumber: 7",
                "token: 10",
                "a b: c",
                "x { y: z }",
                "# { comment",
                "\tversion: 2\r",
                "ring0_addr: 10.0.0.1",
                "secauth: on",
                "uid: 0",
            ]
        ),
        st.text(max_size=30),
    ),
    max_size=30,
).map("\n".join)


def test_sections_settings_and_lines() -> None:
    tree = parse("# comment\ntotem {\n  version:2 \r\n\tinterface {\nttl :  1\n}\n}\n\nquorum {\n}", "f")
    (totem, quorum) = tree.sections
    assert (totem.path, totem.line) == ("totem", 2)
    assert [(s.key, s.value, s.line) for s in totem.settings] == [("version", "2", 3)]
    (interface,) = totem.sections
    assert (interface.path, interface.line) == ("totem.interface", 4)
    assert [(s.key, s.value) for s in interface.settings] == [("ttl", "1")]
    assert (quorum.path, quorum.line, quorum.settings) == ("quorum", 9, [])


def test_a_colon_before_the_brace_is_dropped() -> None:
    assert parse("totem: {\n}", "f").sections[0].path == "totem"


def test_value_keeps_what_follows_the_first_colon() -> None:
    (section,) = parse("a {\nkey: fd00::1 # not a comment\n}", "f").sections
    assert section.settings[0].value == "fd00::1 # not a comment"


def test_a_closing_brace_after_a_colon_is_part_of_the_value() -> None:
    (section,) = parse("a {\nkey: x }\n}", "f").sections
    assert section.settings[0].value == "x }"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a {\n}\n}", 3, "unexpected }"),
        ("a {\nb {\n}", 1, "never closed"),
        ("a {\nb {\n", 2, "never closed"),
        ("a {\nkey: {x}\n}", 2, "after {"),
        ("a { key: x", 1, "after {"),
        ("{\n}", 1, "section name is missing"),
        ("a {\n: x\n}", 2, "key is missing"),
        ("a {\nword\n}", 2, 'found "word"'),
        ("a {\n} }\n", 2, "stands alone"),
        ("a {\nb.c: 1\n}", 2, '"b.c" is no key'),
        ("a b {\n}", 1, '"a b" is no section name'),
        ("a {\nkey: \x00\n}", 2, "control character"),
        ("a {\nkey: " + "x" * 506 + "\n}", 2, "511 bytes"),
        ("a {\nkey: " + "é" * 253 + "\n}", 2, "511 bytes"),
        ("\n" + "abcd {\n" * 60, 53, "exceeds 255"),
    ],
)
def test_errors_name_the_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^f:{line}: ") as caught:
        parse(text, "f")
    assert words in str(caught.value)
    assert caught.value.line == line


def test_a_line_of_510_bytes_is_allowed() -> None:
    assert parse("a {\nkey: " + "x" * 505 + "\n}", "f").sections[0].settings[0].value == "x" * 505


def test_a_huge_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="characters"):
        parse("#" * (FILE_SIZE_MAX + 1), "f")


@given(LINES)
def test_any_text_parses_or_is_a_config_error(text: str) -> None:
    outcome = _attempt(lambda: parse(text, "f"))
    if isinstance(outcome, ConfigError):
        assert outcome.file == "f"
        assert 0 < outcome.line <= text.count("\n") + 1
    else:
        assert _settings(outcome) <= text.count("\n") + 1


@given(LINES)
def test_any_text_is_a_document_or_a_config_error(text: str) -> None:
    outcome = _attempt(lambda: Document(text, "f"))
    if isinstance(outcome, ConfigError):
        assert 0 < outcome.line <= text.count("\n") + 1
    else:
        assert all(warning.file == "f" for warning in outcome.warnings)


def _attempt(action: Callable[[], T]) -> T | ConfigError:
    try:
        return action()
    except ConfigError as error:
        return error


def _settings(section: Section) -> int:
    return len(section.settings) + sum(_settings(inner) for inner in section.sections)


def test_the_last_line_counts() -> None:
    root = parse("totem {\n  a: 1\n  b: 2\n}\ntotem {\n  a: 3\n}\nnodelist {\n  a: 4\n}\n", "file")
    assert (value_of(root, "totem", "a"), value_of(root, "totem", "b")) == ("3", "2")
    assert value_of(root, "totem", "c") is None
