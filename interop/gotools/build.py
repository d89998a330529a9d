"""Build a program in Go: ``python -m interop.gotools.build kubo|crawler``.

`interop/gotools/<name>/` is a Go module that pins it. It is built into
`$XDG_CACHE_HOME/carrick/peers/<name>-<hash>`, where the hash covers that folder and the recipe.
One JSON line on standard output tells where it is. Exit code 0: built; 1: the build failed;
3: there is no Go, and `skipped` says so.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from interop.peers.build import EXIT_FAILED, EXIT_SKIPPED, Skipped, cache_root

__all__ = ["PACKAGES", "build", "find"]

SOURCES = Path(__file__).parent
# What is compiled, as the folder's go.mod knows it.
PACKAGES = {"kubo": "github.com/ipfs/kubo/cmd/ipfs", "crawler": "."}
FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w")


def find(name: str) -> Path | None:
    """The program, if it has been built."""
    program = _program(name)
    return program if program.exists() else None


def build(name: str) -> Path:
    """Build the program, or find it built.

    Raises:
        Skipped: there is no Go.
        subprocess.CalledProcessError: the build failed.
    """
    program = _program(name)
    program.parent.mkdir(parents=True, exist_ok=True)
    with program.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _compile(name, program)
    return program


def _program(name: str) -> Path:
    hashed = hashlib.sha256(f"{platform.machine()} {PACKAGES[name]} {FLAGS}".encode())
    for file in sorted((SOURCES / name).iterdir()):
        hashed.update(f"\n{file.name}\n".encode() + file.read_bytes())
    return cache_root() / f"{name}-{hashed.hexdigest()[:12]}" / name


def _compile(name: str, program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise Skipped("no go")
    unfinished = program.with_suffix(".new")
    words = [go, "build", *FLAGS, "-o", str(unfinished), PACKAGES[name]]
    print("+", *words, file=sys.stderr, flush=True)
    variables = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    subprocess.run(words, cwd=SOURCES / name, env=variables, stdout=sys.stderr, check=True)
    unfinished.rename(program)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.gotools.build")
    parser.add_argument("name", choices=PACKAGES)
    name = parser.parse_args(argv).name
    start = time.monotonic()
    try:
        program = build(name)
    except Skipped as missing:
        print(json.dumps({"name": name, "skipped": str(missing)}))
        return EXIT_SKIPPED
    except subprocess.CalledProcessError as error:
        print(f"build of {name} failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    seconds = round(time.monotonic() - start, 1)
    print(json.dumps({"name": name, "program": str(program), "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
