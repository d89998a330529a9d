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


def test_go_and_rust_have_an_older_version() -> None:
    older = [build.language_of(name) for name in build.names() if name not in build.LANGUAGES]
    assert sorted(older) == ["go", "rust"]


@pytest.mark.parametrize("name", build.names())
def test_the_library_is_pinned(name: str) -> None:
    language = build.LANGUAGES[build.language_of(name)]
    assert re.search(language.pattern, build.sources(name)[language.pin].read_text())


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
    source = tmp_path / "peer.py"
    source.write_text("1")
    before = build._digest({"peer.py": source})
    source.write_text("2")
    assert build._digest({"peer.py": source}) != before


def test_an_older_version_differs_in_its_own_files_only() -> None:
    newest, older = build.sources("go"), build.sources("go-v0.38")
    own = {path for path, file in older.items() if "versions" in file.parts}
    assert {"go.mod", "go.sum"} <= own
    assert {path: older[path] for path in older.keys() - own} == {
        path: newest[path] for path in newest.keys() - own
    }


@pytest.mark.parametrize("name", [n for n in build.names() if n not in build.LANGUAGES])
def test_an_older_version_pins_another_release_than_the_newest(name: str) -> None:
    language = build.LANGUAGES[build.language_of(name)]
    pins = [
        re.findall(language.pattern, build.sources(each)[language.pin].read_text())
        for each in (build.language_of(name), name)
    ]
    assert pins[0] != pins[1]


def test_the_npm_lock_file_names_no_registry() -> None:
    lock = json.loads((PEERS / "js" / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
