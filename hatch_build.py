"""Makes the links in core/carrick for an editable install, where a checkout lost them."""

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LinkHook(BuildHookInterface):  # type: ignore[type-arg]
    """Acts on editable installs only: wheels and sdists pack the real folders."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            return
        for name in ("protocols", "transports"):
            target = Path(self.root, name)
            link = Path(self.root, "core", "carrick", name)
            if link.is_dir():
                continue
            link.unlink(missing_ok=True)
            if sys.platform == "win32":
                import _winapi

                _winapi.CreateJunction(str(target), str(link))
            else:
                link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
