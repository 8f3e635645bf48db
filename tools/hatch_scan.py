"""Hatchling's build hook: the C scanner goes into the wheel where it can be built; nothing fails where not.

In: the checkout or an unpacked source distribution. Out: a wheel for this platform with the extension, or a
wheel for every platform without it; an editable installation gets the extension beside its source.

Invariant: a missing or failing compiler never fails an installation.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ScanBuildHook(BuildHookInterface[Any]):
    """Found by hatchling through `[tool.hatch.build.targets.wheel.hooks.custom]`."""

    PLUGIN_NAME = "custom"
    _draft: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the extension before the wheel is put together; `version` is `standard` or `editable`."""
        sys.path.insert(0, self.root)
        from tools.build_scan import build

        if version == "editable":
            build()
            return
        self._draft = Path(tempfile.mkdtemp(prefix="outrider-scan-"))
        built = build(self._draft)
        if built is not None:
            build_data["force_include"][str(built)] = f"outrider/wire/smtp/{built.name}"
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's signature
        """Remove what was built, once it is in the wheel."""
        if self._draft is not None:
            shutil.rmtree(self._draft, ignore_errors=True)
