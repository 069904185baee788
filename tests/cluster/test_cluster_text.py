"""What a configuration's text means, its version, and what two texts differ in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.cluster.text import VERSION_MAX, difference, digest, dropped, forgotten, with_version
from totemd.config.parser import parse
from totemd.errors import ConfigError

TEXT = """\
# The sea.
totem {
    version: 2
    cluster_name: sea
    config_version: 7
}
nodelist {
    node {
        nodeid: 1
        name: hake
    }
    node {
        nodeid: 2
    }
}
"""

keys = st.sampled_from(("alpha", "beta", "gamma", "config_version"))
values = st.text("abc019 :", max_size=5).map(str.strip)
blanks = st.sampled_from(("", " ", "\t", "    "))
section_names = st.sampled_from(("totem", "quorum", "logging"))


@st.composite
def sections(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    return draw(st.dictionaries(section_names, st.dictionaries(keys, values, min_size=1), min_size=1))


@st.composite
def written(draw: st.DrawFn, tables: dict[str, dict[str, str]]) -> str:
    """One of the ways to write it."""
    lines = []
    for name in draw(st.permutations(sorted(tables))):
        lines.append(f"{draw(blanks)}{name} {{")
        for key in draw(st.permutations(sorted(tables[name]))):
            if draw(st.booleans()):
                lines.append(draw(st.sampled_from(("", "# a word", "  # }"))))
            lines.append(f"{draw(blanks)}{key}:{draw(blanks)}{tables[name][key]}{draw(blanks)}")
        lines.append("}")
    return "\n".join(lines) + draw(st.sampled_from(("", "\n")))


def version_of(text: str) -> list[str]:
    return [
        setting.value
        for section in parse(text, "f").sections
        if section.path == "totem"
        for setting in section.settings
        if setting.key == "config_version"
    ]


@given(sections().flatmap(lambda tables: st.tuples(written(tables), written(tables))))
def test_texts_of_one_meaning_have_one_digest(texts: tuple[str, str]) -> None:
    assert digest(texts[0]) == digest(texts[1])
    assert len(digest(texts[0])) == 16


@given(sections(), sections(), st.data())
def test_texts_of_two_meanings_have_two_digests(
    one: dict[str, dict[str, str]], two: dict[str, dict[str, str]], data: st.DataObject
) -> None:
    def meaning(tables: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        kept = {
            name: {k: v for k, v in table.items() if (name, k) != ("totem", "config_version")}
            for name, table in tables.items()
        }
        return {name: table for name, table in kept.items() if table}

    same = digest(data.draw(written(one))) == digest(data.draw(written(two)))
    assert same == (meaning(one) == meaning(two))


@given(sections().flatmap(written), st.integers(0, VERSION_MAX))
def test_a_new_version_changes_nothing_else(text: str, version: int) -> None:
    after = with_version(text, version)
    assert version_of(after) == [str(version)]
    assert digest(after) == digest(text)
    assert with_version(after, version) == after


def test_the_version_is_changed_where_it_stands() -> None:
    assert with_version(TEXT, 8) == TEXT.replace("config_version: 7", "config_version: 8")


def test_a_version_that_is_given_twice_is_changed_twice() -> None:
    text = "totem {\n config_version: 1\n}\ntotem {\n\tconfig_version:9\r\n}\n"
    assert with_version(text, 2) == "totem {\n config_version: 2\n}\ntotem {\n\tconfig_version: 2\r\n}\n"


def test_a_version_that_is_not_there_is_added() -> None:
    assert with_version("totem {\n\tversion: 2\n}\n", 1) == "totem {\n\tconfig_version: 1\n\tversion: 2\n}\n"
    assert version_of(with_version("totem {\n}\n", 1)) == ["1"]
    assert version_of(with_version("quorum {\n}\n", 1)) == ["1"]


def test_config_version_elsewhere_is_another_key() -> None:
    text = "totem {\n    interface {\n        config_version: 5\n    }\n}\n"
    assert "        config_version: 5\n" in with_version(text, 6)
    assert version_of(with_version(text, 6)) == ["6"]


def test_no_configuration_has_no_version() -> None:
    with pytest.raises(ConfigError, match="never closed"):
        with_version("totem {\n", 1)
    with pytest.raises(ValueError, match="no version"):
        with_version(TEXT, VERSION_MAX + 1)


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("sea", "lake"),
        TEXT.replace("name: hake", "nodename: hake"),
        TEXT.replace("nodeid: 1", "nodeid: 3").replace("nodeid: 2", "nodeid: 1"),
        TEXT.replace("        name: hake\n", "").replace("nodeid: 2", "nodeid: 2\n        name: hake"),
    ],
    ids=["value", "key", "ids", "which node"],
)
def test_what_means_something_else_has_another_digest(other: str) -> None:
    assert digest(other) != digest(TEXT)


@given(st.text())
def test_every_text_has_a_digest(text: str) -> None:
    assert len(digest(text)) == 16


def test_broken_texts_differ_in_every_character() -> None:
    assert digest("totem {") != digest("totem { ")


def test_a_difference_shows_what_was_taken_out_and_put_in() -> None:
    assert difference(TEXT, TEXT) == ""
    shown = difference(TEXT, TEXT.replace("sea\n", "lake\n"), "version 7", "file")
    assert shown.startswith("--- version 7\n+++ file\n@@")
    assert "-    cluster_name: sea\n+    cluster_name: lake\n" in shown


def test_a_removed_node_is_not_forgotten_unseen() -> None:
    tomb = "removed {\n node {\n nodeid: 4\n name: pike\n uuid: aa\n }\n}\n"
    assert forgotten(TEXT + tomb, TEXT + tomb) == []
    assert forgotten(TEXT, TEXT + tomb) == []
    assert forgotten(TEXT + tomb, TEXT) == ["pike"]
    assert forgotten(TEXT + tomb, TEXT + tomb.replace("nodeid: 4", "nodeid: 5")) == ["pike"]
    assert forgotten(TEXT + tomb.replace(" name: pike\n", ""), TEXT) == ["node 4"]


def test_a_node_is_not_dropped_unseen() -> None:
    assert dropped(TEXT, TEXT.replace("name: hake", "name: ling")) == []
    assert dropped(TEXT, TEXT.replace("nodeid: 1", "nodeid: 3")) == ["hake"]
    assert dropped(TEXT, TEXT.partition("    node {")[0] + "}") == ["hake", "node 2"]
