"""The story of a cluster on four machines, as its script tells it; the script checks what it shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STORY = Path(__file__).parents[2] / "examples" / "cluster_story.sh"


@pytest.mark.root
@pytest.mark.slow
def test_the_story_goes_as_told() -> None:
    told = subprocess.run(
        [STORY],
        env={**os.environ, "TOTEMD_BIN": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-4000:] + told.stderr[-4000:]
    assert "The end: as told." in told.stdout
