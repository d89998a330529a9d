"""The pytest plugin: tests on the simulated internet, in virtual time, repeatable by their seed.

A test that takes `internet`, or a fixture that needs it, runs under a clock that jumps. It needs
pytest-trio, but neither its `trio_mode` nor its `autojump_clock`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from carrick import HostBuilder
    from carrick.sim import Host as Machine
    from carrick.sim import Internet, NatBehaviour, Network, Router
    from carrick.testing.nodes import Node

__all__ = ["internet", "nat", "node", "nodes"]

_seed = pytest.StashKey[int]()
_internet = pytest.StashKey["Internet | None"]()
_time = pytest.StashKey[float]()


# --- settings -------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("carrick", "tests on Carrick's simulated internet")
    group.addoption(
        "--carrick-seed",
        metavar="N|random",
        help="The seed of every simulated internet; it is stronger than the tests' markers.",
    )
    group.addoption(
        "--carrick-diagram",
        metavar="DIR",
        type=Path,
        help="Draw what happened on the internet of each test that fails: an HTML page in DIR.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "internet(seed=0, access=Link(…), record=True, record_payload=False): "
        "what the fixture `internet` is made with.",
    )
    given = config.getoption("--carrick-seed")
    if given == "random":
        config.option.carrick_seed = str(secrets.randbelow(2**32))
    elif given is not None and not given.isdecimal():
        raise pytest.UsageError(f"--carrick-seed takes a number or 'random', not {given!r}")


def pytest_itemcollected(item: pytest.Item) -> None:
    if "internet" not in getattr(item, "fixturenames", ()) or not _is_ours(item):
        return
    if not item.config.pluginmanager.hasplugin("trio"):
        raise pytest.UsageError(f"{item.nodeid} uses the fixture `internet`: it needs pytest-trio")
    item.stash[_seed] = _seed_of(item)
    # First, so that pytest-trio's own choice of a runner comes later.
    item.add_marker(pytest.mark.trio(run=partial(_run, item.stash[_seed])), append=False)


def _is_ours(item: pytest.Item) -> bool:
    """Not a fixture of the same name that the project has itself."""
    known: Any = getattr(item, "_fixtureinfo", None)
    found: Any = known.name2fixturedefs.get("internet") if known else None
    return bool(found) and found[-1].func.__module__ == __name__


def _seed_of(item: pytest.Item) -> int:
    option = item.config.getoption("--carrick-seed")
    return int(option) if option is not None else int(_settings(item).get("seed", 0))


def _settings(item: pytest.Item) -> dict[str, Any]:
    marker = item.get_closest_marker("internet")
    return dict(marker.kwargs) if marker is not None else {}


def _run(
    seed: int,
    main: Callable[[], Awaitable[Any]],
    *,
    clock: Any = None,
    instruments: Sequence[Any] = (),
) -> Any:
    """In place of `trio.run`: virtual time, and a scheduler that follows `seed`."""
    import trio
    import trio.testing

    from carrick.sim.running import seeded

    clock = clock or trio.testing.MockClock(autojump_threshold=0)
    with seeded(seed):
        return trio.run(main, clock=clock, instruments=instruments, strict_exception_groups=True)


# --- fixtures -------------------------------------------------------------------------------------


@pytest.fixture
async def internet(request: pytest.FixtureRequest) -> AsyncIterator[Internet]:
    """A simulated internet (`carrick.sim.Internet`) in virtual time, with the test's seed.

    `@pytest.mark.internet(seed=7, access=Link(latency=0.05))` says otherwise.
    """
    from carrick.sim import open_internet

    item = request.node
    settings = {**_settings(item), "seed": item.stash[_seed]}
    async with open_internet(**settings) as internet:
        item.stash[_internet] = internet
        yield internet
        item.stash[_time] = internet.time()


@pytest.fixture
def nat(internet: Internet) -> Callable[..., Router]:
    """`nat("symmetric")`: a router of that behaviour on the internet, with a LAN of its own.

    Takes a name of `carrick.sim.PRESETS` or a `NatBehaviour`, then what `Internet.router` takes.
    """

    def make(behaviour: str | NatBehaviour = "port-restricted", **options: Any) -> Router:
        return internet.router(nat=behaviour, **options)

    return make


Opener = Callable[..., Awaitable["Node"]]


@pytest.fixture
async def node(internet: Internet) -> AsyncIterator[Opener]:
    """`await node()`: a Carrick node, open until the test ends.

    `await node(where, builder)`: `where` is a machine, or a network or router on which a new
    machine is made; by default the internet's core.
    """
    import trio

    from carrick.testing.nodes import LISTEN, keep_node

    async with trio.open_nursery() as nursery:

        async def open_one(
            where: Machine | Network | None = None,
            builder: HostBuilder | None = None,
            *,
            listen: Iterable[str] = LISTEN,
            **machine: Any,
        ) -> Node:
            keep = partial(keep_node, listen=tuple(listen))
            opened: Node = await nursery.start(keep, _machine(internet, where, machine), builder)
            return opened

        yield open_one
        nursery.cancel_scope.cancel()


@pytest.fixture
def nodes(node: Opener) -> Callable[..., Awaitable[list[Node]]]:
    """`await nodes(50, builder)`: so many Carrick nodes, each on a machine of its own."""

    async def open_many(
        count: int, builder: HostBuilder | None = None, **options: Any
    ) -> list[Node]:
        return [await node(None, builder, **options) for _ in range(count)]

    return open_many


def _machine(internet: Internet, where: Any, options: dict[str, Any]) -> Machine:
    from carrick.sim import Host, Network, Router

    if where is None:
        return internet.host(**options)
    if isinstance(where, Network | Router):
        return where.host(**options)
    assert isinstance(where, Host)
    return where


# --- failures -------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    seed = item.stash.get(_seed, None)
    if seed is not None and report.when == "call":
        if report.failed:
            report.sections.append(("simulated internet", "\n".join(_story(item, seed))))
        item.stash[_internet] = None
    return report


def _story(item: pytest.Item, seed: int) -> list[str]:
    from carrick.sim import hash_seed_is_fixed

    fixed = "" if hash_seed_is_fixed() else "PYTHONHASHSEED=0 "
    lines = [f"seed {seed}; once more: {fixed}pytest --carrick-seed={seed} '{item.nodeid}'"]
    internet = item.stash.get(_internet, None)
    if internet is None:
        return lines
    lost = sum(entry.receiver is None for entry in internet.trace)
    time = item.stash.get(_time, None)
    until = "" if time is None else f" in {time:.3f} s of virtual time"
    lines.append(f"{len(internet.trace)} packets{until}, {lost} of them lost")
    folder = item.config.getoption("--carrick-diagram")
    if folder is not None:
        lines.append(f"drawn in {_draw(internet, item.nodeid, folder)}")
    return lines


def _draw(internet: Internet, name: str, folder: Path) -> Path:
    from carrick.sim import html_page, sequence_diagram

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"[^\w.-]+", "_", name)[-200:] + ".html")
    diagram = sequence_diagram(internet.trace, title=name)
    path.write_text(html_page(diagram, title=name), encoding="utf-8")
    return path
