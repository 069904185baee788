"""The specification holds together: anchors are unique, references resolve, vectors come out of the captures."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "protocol").glob("*.md"))
ANCHOR = re.compile(r"\[((?:PKT|ORD|MEM|REC|GRP|SYN|SRV|CPG|VQ|CFG|CMAP|NAT|QB|LIB|DIR|SEAL|JOIN|CHG)-[0-9A-Z]+)\]")
DEFINITION = re.compile(r"^(?:\| )?" + ANCHOR.pattern + r"(?= |\*)", re.MULTILINE)


def _defined() -> Counter[str]:
    return Counter(name for path in CHAPTERS for name in DEFINITION.findall(path.read_text()))


def test_anchors_are_unique() -> None:
    defined = _defined()
    assert len(defined) > 130
    assert [name for name, count in defined.items() if count > 1] == []


@pytest.mark.parametrize("folder", ["protocol", "src", "tests"])
def test_references_resolve(folder: str) -> None:
    defined = _defined()
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".py") and path != Path(__file__)]
    unknown = {(path.name, name) for path in files for name in ANCHOR.findall(path.read_text()) if name not in defined}
    assert unknown == set()


def test_vectors_come_out_of_the_captures(tmp_path: Path) -> None:
    captures = sorted((ROOT / "tests" / "captures").glob("*.pcap.gz"))
    script = ROOT / "protocol" / "extract_vectors.py"
    done = subprocess.run(
        [sys.executable, str(script), "--into", str(tmp_path), *map(str, captures)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in (ROOT / "protocol" / "vectors").glob("*.json")}
