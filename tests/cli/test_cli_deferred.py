"""Modules that are loaded at their first use."""

import subprocess
import sys

SCRIPT = """
import sys
from totemd.cli.deferred import defer

defer("colorsys", "json", "string")
import colorsys
import string
from colorsys import ONE_THIRD
import colorsys as again

assert string.digits == "0123456789"
assert ONE_THIRD == again.ONE_THIRD == colorsys.ONE_THIRD
assert colorsys.rgb_to_hsv(1, 1, 1) == sys.modules["colorsys"].rgb_to_hsv(1, 1, 1)
assert "json.decoder" not in sys.modules
import json
assert "json.decoder" not in sys.modules
assert json.loads("[1]") == [1]
assert "json.decoder" in sys.modules
try:
    json.nothing
except AttributeError as error:
    assert "nothing" in str(error)
loaded = sys.modules["sys"]
defer("sys")
assert sys.modules["sys"] is loaded
"""


def test_a_deferred_module_is_loaded_at_its_first_use() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
