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


def test_a_listener_imports_only_what_it_needs() -> None:
    """Each of these takes 10 to 50 ms; a start should take less than half a second."""
    program = """
import sys, trio
from carrick import HostBuilder
from carrick.addressing import address_text

async def main():
    async with HostBuilder().listen("/ip4/127.0.0.1/tcp/0").open() as host:
        print(*map(address_text, host.addresses))

trio.run(main)
for name in ("OpenSSL", "cryptography.x509", "Crypto", "sqlite3", "netaddr", "cid", "psutil",
             "dns", "rich", "prometheus_client", "kademlia"):
    assert name not in sys.modules, name
"""
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT / "core")}
    )


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
