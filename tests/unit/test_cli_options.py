"""Flags, their variables, and the forms of output. No node is opened here."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from carrick.cli import main
from carrick.cli.options import Duration, Size
from carrick.cli.output import human_bytes, human_rate, human_time, render

CORE = Path(__file__).resolve().parents[2] / "core"


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    logger = logging.getLogger("carrick")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """The command in this process: (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), ("30s", 30.0), ("200ms", 0.2), ("1.5m", 90.0), ("2h", 7200.0), (" 1 S ", 1.0)],
)
def test_duration(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1d", "nan", "inf", "s", "1e9"])
def test_wrong_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("64MiB", 64 << 20), ("10MB", 10_000_000), ("1.5KiB", 1536)],
)
def test_size(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "-1", "MiB", "1 PiB", "1e6"])
def test_wrong_size(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Size().convert(text, None, None)


def test_numbers_for_people() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1024, 64 << 20, 3 << 50)] == [
        "0 B", "1023 B", "1.0 KiB", "64.0 MiB", "3072.0 TiB",
    ]  # fmt: skip
    assert [human_time(t) for t in (0.00041, 0.0123, 0.412, 1.5)] == [
        "0.41 ms", "12.3 ms", "412 ms", "1.50 s",
    ]  # fmt: skip
    assert [human_rate(r) for r in (1, 1000, 1e8, 1e9)] == [
        "8 bit/s", "8 kbit/s", "800 Mbit/s", "8.00 Gbit/s",
    ]  # fmt: skip


def test_template() -> None:
    fields = {"id": "12D3", "addrs": ["/a", "/b"], "rtt": None}
    assert render(r"<id>\t<addrs>\n<rtt>\\n", fields) == "12D3\t/a\n/b\n\\n"
    with pytest.raises(click.UsageError, match="<id> <addrs> <rtt>"):
        render("<identity>", fields)


def test_key_made_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key"
    code, out, err = run(capsys, "key", "gen", file)
    assert code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    peer = out.strip()
    assert peer.startswith("12D3KooW")
    assert str(file) in err
    assert run(capsys, "id", "--key", file)[1] == f"{peer}\n"
    shown = json.loads(run(capsys, "key", "show", file, "--json")[1])
    assert (shown["id"], shown["type"]) == (peer, "ed25519")
    assert (shown["schema"], shown["version"]) == ("carrick.key.show.v1", "0.1.0")
    assert run(capsys, "key", "gen", file)[0] == 2
    assert run(capsys, "key", "gen", "--force", "--type", "secp256k1", file)[0] == 0
    assert run(capsys, "id", "--key", file)[1] != f"{peer}\n"


@pytest.mark.parametrize("type", ["ed25519", "secp256k1", "ecdsa", "rsa"])
def test_key_types(tmp_path: Path, capsys: pytest.CaptureFixture[str], type: str) -> None:
    code, out, _ = run(capsys, "key", "gen", "--type", type, tmp_path / "key", "--json")
    assert code == 0
    assert json.loads(out)["type"] == type


def test_key_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key"
    assert run(capsys, "key", "gen", "--type", "rsa", "--bits", "1024", file)[0] == 2
    assert run(capsys, "key", "gen", "--bits", "2048", file)[0] == 2
    assert not file.exists()


def test_own_key_of_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    code, _, err = run(capsys, "id", "--home", home)
    assert code == 2
    assert "carrick key gen" in err
    peer = run(capsys, "--home", home, "key", "gen")[1]
    assert run(capsys, "id", "--home", home)[1] == peer


def test_unreadable_key_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"no key at all")
    code, out, err = run(capsys, "id", "--key", file)
    assert (code, out) == (1, "")
    assert str(file) in err
    code, out, err = run(capsys, "id", "--json", "--key", tmp_path / "missing")
    assert (code, err) == (1, "")
    assert json.loads(out)["error"]["code"] == "key_file"


def test_flags_stand_before_and_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["--json", "version"], ["version", "--json"]):
        assert json.loads(run(capsys, *args)[1])["version"] == "0.1.0"


def test_variables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRICK_FORMAT", "<python>!")
    assert run(capsys, "version")[1].endswith("!")
    assert run(capsys, "version", "--format", "<python>?")[1].endswith("?")
    assert run(capsys, "--format", "<python>?", "version")[1].endswith("?")
    monkeypatch.setenv("CARRICK_TIMEOUT", "soon")
    assert run(capsys, "version")[0] == 2


@pytest.mark.parametrize(
    "args",
    [
        ["no-such-command"],
        ["ping"],
        ["ping", "--no-such-flag", "4001"],
        ["ping", "4001", "--count", "-1"],
        ["listen", "--limit", "conections=3"],
        ["listen", "--limit", "connections"],
        ["listen", "--limit", "connections=many"],
        ["listen", "--security", "plaintext"],
        ["listen", "--muxer", "spdy"],
        ["listen", "--listen", "/nonsense"],
        ["listen", "--no-announce", "10.0.0.0/99"],
        ["listen", "--listen", "/ip4/127.0.0.1/tcp/0", "--metrics", "x"],
        ["connect", "192.0.2.7:4001"],
        ["connect", "@home"],
    ],
)
def test_usage(capsys: pytest.CaptureFixture[str], args: list[Any]) -> None:
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert "carrick: " in err
    assert "Traceback" not in err
    code, out, err = run(capsys, *args, "--json")
    assert (code, err) == (2, "")
    assert set(json.loads(out)["error"]) >= {"code", "message", "addr"}


def test_unknown_limit_has_suggestions(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean connections" in run(capsys, "listen", "--limit", "conections=3")[2]


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    commands = out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    names = [line.split()[0] for line in commands]
    assert "ping" in names
    for name in names:
        assert run(capsys, name, "--help")[0] == 0
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    assert "Commands:" in err


def test_help_is_quick_to_load() -> None:
    """The list of commands loads none of them, and none of the network."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import carrick.cli, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(CORE)},
    ).stdout.split()
    assert {"trio", "rich", "cryptography", "carrick.errors"}.isdisjoint(loaded)
