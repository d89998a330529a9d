"""The recipes of the interop peers: what can be checked without building one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from interop.peers import build

PEERS = Path(build.__file__).parent


def test_every_language_has_a_peer() -> None:
    assert {"js", "py", "go", "rust"} <= set(build.names())


@pytest.mark.parametrize("name", build.names())
def test_the_library_is_pinned(name: str) -> None:
    language = build.LANGUAGES[name.split("-")[0]]
    assert re.search(language.pattern, (PEERS / name / language.pin).read_text())


@pytest.mark.parametrize("name", ["js", "go", "rust"])
def test_a_missing_toolchain_is_a_skip_that_says_so(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build.main([name]) == build.EXIT_SKIPPED
    said = json.loads(capsys.readouterr().out)
    assert said == {"name": name, "skipped": f"no {dict(js='npm', rust='cargo').get(name, name)}"}


def test_a_changed_source_is_another_build(tmp_path: Path) -> None:
    (tmp_path / "peer.py").write_text("1")
    before = build._digest(tmp_path)
    (tmp_path / "peer.py").write_text("2")
    assert build._digest(tmp_path) != before


def test_the_npm_lock_file_names_no_registry() -> None:
    lock = json.loads((PEERS / "js" / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
