"""What `import carrick` gives, and what the built package holds."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

import carrick

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", [name for name in carrick.__all__ if name != "__version__"])
def test_each_export_is_the_one_of_its_home(name: str) -> None:
    assert getattr(carrick, name) is getattr(import_module(carrick._EXPORTS[name]), name)


def test_dir_lists_the_exports() -> None:
    assert set(dir(carrick)) == set(carrick.__all__)
    assert set(carrick._EXPORTS) | {"__version__"} == set(carrick.__all__)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Hosst'"):
        carrick.Hosst  # noqa: B018
    with pytest.raises(ImportError):
        exec("from carrick import Hosst")


def test_exports_are_loaded_when_they_are_used() -> None:
    program = """
import sys, carrick
assert "carrick.builder" not in sys.modules and "trio" not in sys.modules
assert "HostBuilder" in dir(carrick)
from carrick import HostBuilder
assert "carrick.builder" in sys.modules
# The parts of a host are imported when one is opened.
assert not any(name.startswith("carrick.protocols.") for name in sys.modules)
assert "carrick.transports.tcp" not in sys.modules
from carrick import *
assert PeerId is carrick.PeerId
"""
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT / "core")}
    )


# Each takes 3 to 50 ms. What only a connection, a flag or another command needs loads with that:
# a start should take less than half a second.
NOT_FOR_A_START = {
    "Crypto",
    "OpenSSL",
    "asyncio",
    "cid",
    "concurrent.futures",
    "cryptography.hazmat.primitives.serialization",
    "cryptography.x509",
    "dns",
    "email",
    "google.protobuf.descriptor",
    "google.protobuf.internal",
    "http",
    "importlib.metadata",
    "matplotlib",
    "multiprocessing",
    "netaddr",
    "noise",
    "numpy",
    "prometheus_client",
    "psutil",
    "qh3",
    "rich",
    "sqlite3",
    "tomllib",
    "urllib.request",
    "wsproto",
    "xml",
    "carrick.host.metrics",
    "carrick.protocols.autonat.v1",
    "carrick.protocols.autonat.v2",
    "carrick.protocols.dcutr.messages",
    "carrick.protocols.dcutr.punching",
    "carrick.protocols.kademlia",
    "carrick.protocols.portmap",
    "carrick.protocols.relay.service",
    "carrick.protocols.stun",
    "carrick.sim",
    "carrick.transports.muxers.mplex",
    "carrick.transports.quic",
    "carrick.transports.security.noise",
    "carrick.transports.security.tls",
    "carrick.transports.websocket",
    "carrick.transports.webtransport",
}


def test_a_listener_imports_only_what_it_needs() -> None:
    program = """
import sys, trio
from carrick import HostBuilder
from carrick.addressing import address_text

async def main():
    async with HostBuilder().listen("/ip4/127.0.0.1/tcp/0").open() as host:
        print(*map(address_text, host.addresses))

trio.run(main)
print(*sys.modules, sep="\\n", file=sys.stderr)
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={"PYTHONPATH": str(ROOT / "core")},
        capture_output=True,
        text=True,
    )
    loaded = set(found.stderr.split())
    assert "carrick.transports.tcp" in loaded
    assert loaded.isdisjoint({*NOT_FOR_A_START, "click", "json"})


def test_the_command_listens_with_only_what_it_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "carrick", "--home", str(tmp_path)]
    command += ["listen", "--json", "--no-api", "--listen", "/ip4/127.0.0.1/tcp/0"]
    with (
        (tmp_path / "imports").open("w") as imports,
        subprocess.Popen(
            command,
            env={"PYTHONPATH": str(ROOT / "core")},
            stdout=subprocess.PIPE,
            stderr=imports,
        ) as process,
    ):
        assert process.stdout is not None
        assert b"/tcp/" in process.stdout.readline()
        process.kill()
    lines = (tmp_path / "imports").read_text().splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines}
    assert "carrick.cli.serving" in loaded
    assert loaded.isdisjoint(NOT_FOR_A_START)


def test_the_version_is_that_of_the_project() -> None:
    assert f'version = "{carrick.__version__}"' in (ROOT / "pyproject.toml").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--wheel-dir", str(folder)]
    command += ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("carrick-*.whl")
    return built


def test_the_wheel_holds_one_package_and_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert {name.split("/")[0] for name in names} == {
            "carrick",
            f"carrick-{carrick.__version__}.dist-info",
        }
        packed = {name for name in names if name.endswith((".py", ".pyi", ".typed", ".proto"))}
        entry_points = ConfigParser()
        (entry,) = [name for name in names if name.endswith("entry_points.txt")]
        entry_points.read_string(archive.read(entry).decode())
        licenses = [Path(name).name for name in names if "/licenses/" in name]
    assert dict(entry_points["console_scripts"]) == {"carrick": "carrick.cli:main"}
    assert sorted(licenses) == ["LICENSE-APACHE", "LICENSE-MIT"]
    # Each module once, under `carrick`, from all three folders; and nothing else.
    expected = {
        str(Path("carrick", inside, path.relative_to(ROOT / folder)))
        for folder, inside in (
            ("core/carrick", ""),
            ("protocols", "protocols"),
            ("transports", "transports"),
        )
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".pyi", ".typed", ".proto"} or path.name == "py.typed"
        if not (folder == "core/carrick" and path.relative_to(ROOT / folder).parts[0] in LINKS)
    }
    assert packed == expected


LINKS = {"protocols", "transports"}


def test_the_wheel_can_be_imported(wheel: Path) -> None:
    program = """
import carrick, carrick.protocols.ping, carrick.transports.tcp, carrick.cli
from carrick import HostBuilder
assert ".whl" in carrick.__file__ and ".whl" in carrick.protocols.ping.__file__
for name in ("protocols", "transports"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"there is a top-level {name}")
"""
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=wheel.parent,
        env={"PYTHONPATH": str(wheel)},
    )
