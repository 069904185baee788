"""Build hook: with TOTEMD_COMPILE=1 in the environment the wheel has the hot modules compiled, by mypyc.

Without it, and in editable installs, the package is plain Python. The compiled form needs a C compiler. The modules
stay in the wheel as Python, too, so that tracebacks and `inspect` have their source.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "TOTEMD_COMPILE"
SOURCE = "src"

HOT = (
    "errors.py",
    "ids.py",
    "limits.py",
    "wire/*.py",
    "totem/*.py",
    "groups/*.py",
    "services/base.py",
    "services/cpg/*.py",
    "ipc/ports.py",
    "qb/*.py",
    "node/*.py",
)
"""What a message and the token pass through; the rest would gain nothing."""


class CompileHook(BuildHookInterface[Any]):
    """See the module."""

    PLUGIN_NAME = "custom"

    def _wanted(self) -> bool:
        return self.target_name == "wheel" and os.environ.get(SWITCH) == "1"

    def dependencies(self) -> list[str]:
        """What the build environment needs besides hatchling."""
        return ["mypy>=1.14", "setuptools>=70", "msgpack>=1.0", "types-psutil"] if self._wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a directory of our own, and have the wheel take the results."""
        if not self._wanted() or version == "editable":
            return
        self._directory = tempfile.mkdtemp(prefix="totemd-compile-")
        for library in compile_hot_modules(Path(self.root), Path(self._directory)):
            build_data["force_include"][str(library)] = str(library.relative_to(self._directory))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made for the wheel."""
        if hasattr(self, "_directory"):
            shutil.rmtree(self._directory, ignore_errors=True)


def compile_hot_modules(root: Path, into: Path) -> list[Path]:
    """Compile; gives the libraries, which lie in `into` as in site-packages."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    package = root / SOURCE / "totemd"
    modules = sorted(str(path.relative_to(root)) for pattern in HOT for path in package.glob(pattern))
    before = Path.cwd()
    os.chdir(root)
    try:
        with tempfile.TemporaryDirectory(prefix="totemd-mypyc-") as scratch:
            options = ["--config-file=", "--ignore-missing-imports", "--explicit-package-bases", "--namespace-packages"]
            os.environ["MYPYPATH"] = str(root / SOURCE)
            extensions = mypycify(
                [*options, f"--cache-dir={scratch}/cache", *modules],
                opt_level="3",
                debug_level="0",
                group_name="totemd",
                target_dir=f"{scratch}/c",
            )
            distribution = Distribution({"name": "totemd", "ext_modules": extensions, "package_dir": {"": SOURCE}})
            command = distribution.get_command_obj("build_ext")
            command.build_lib, command.build_temp = str(into), f"{scratch}/o"
            distribution.run_command("build_ext")
    finally:
        os.chdir(before)
    return sorted(into.rglob("*.so"))
