"""Adds the compiled CPU operators to the package; where there is no compiler, the package is built without them."""

import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))
from native_build import BuildError, build


class CompiledOperators(BuildHookInterface):
    """Runs the compiler before a wheel or an editable installation is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; mark the wheel as one for this kind of machine."""
        if self.target_name != "wheel":
            return
        try:
            libraries = build()
        except BuildError as error:
            self.app.display_warning(
                f"the CPU kernels were not compiled; plain torch stands in for them, many times slower: {error}"
            )
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"] += [str(path.relative_to(self.root)) for path in libraries]
