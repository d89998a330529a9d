"""The rust peer in the release profile: `interop/peers` builds a development one, which is slow.

It is kept beside the peer, and built once for each version of its sources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from interop.peers import build

__all__ = ["command"]


def command(peer: build.Peer) -> list[str]:
    """The command of the release build, which is made if it is not there.

    Raises:
        subprocess.CalledProcessError, OSError: the build failed.
    """
    binary = Path(peer.directory) / "peer-release"
    if not binary.exists():
        cache = build.cache_root()
        # Always the same places, so that the dependencies are compiled once.
        source, target = cache / "rust-release-source", cache / "rust-release-target"
        shutil.rmtree(source, ignore_errors=True)
        for path, file in build.sources("rust").items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, source / path)
        subprocess.run(
            ["cargo", "build", "--release", "--locked"],
            cwd=source,
            env={**os.environ, "CARGO_TARGET_DIR": str(target)},
            stdout=sys.stderr,
            check=True,
        )
        shutil.copy2(target / "release" / "carrick-peer-rust", binary)
    return [str(binary)]
