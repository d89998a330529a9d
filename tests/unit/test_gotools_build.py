"""Programs in Go for tests and benchmarks: what can be checked without building one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from interop.gotools import build
from interop.peers.build import EXIT_SKIPPED

MODULES = {"kubo": "github.com/ipfs/kubo", "crawler": "github.com/libp2p/go-libp2p-kad-dht"}


def test_each_is_pinned_and_locked() -> None:
    assert build.PACKAGES.keys() == MODULES.keys()
    for name, module in MODULES.items():
        folder = build.SOURCES / name
        (version,) = re.findall(rf"(?m)^\s*{module} (v\S+)", (folder / "go.mod").read_text())
        assert f"{module} {version} h1:" in (folder / "go.sum").read_text()


@pytest.mark.parametrize("name", build.PACKAGES)
def test_without_go_it_is_skipped(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.main([name]) == EXIT_SKIPPED
    assert json.loads(capsys.readouterr().out) == {"name": name, "skipped": "no go"}
    assert build.find(name) is None
