"""`carrick nat map` on simulated machines."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio

from carrick.cli.commands.nat_map import (
    Asked,
    add_ports,
    list_ports,
    probe_gateways,
    remove_ports,
)
from carrick.cli.errors import NOT_FOUND, classify
from carrick.cli.options import Settings
from carrick.protocols.portmap import NoGateway, Port
from carrick.sim import Host, Internet, Router
from carrick.sim.gateways import InternetGatewayDevice, PortControlServer
from carrick.testing.nodes import on_machine

pytestmark = pytest.mark.internet(seed=3)
JSON = Settings(json=True)
BOTH = (Port("tcp", 4001), Port("udp", 4001))
Lines = list[dict[str, Any]]


async def ask(
    capsys: pytest.CaptureFixture[str], machine: Host, what: Callable[[], Awaitable[int]]
) -> tuple[int, Lines]:
    with on_machine(machine):
        code = await what()
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def serve(nursery: trio.Nursery, router: Router, gateways: Sequence[Any]) -> None:
    for gateway in gateways:
        nursery.start_soon(router.run, gateway.serve)
    await trio.sleep(0.1)


async def test_probe(internet: Internet, capsys: pytest.CaptureFixture[str]) -> None:
    router = internet.router("home")
    alice = router.host("alice")
    async with trio.open_nursery() as nursery:
        gateways = PortControlServer(router, pcp=False), InternetGatewayDevice(router)
        await serve(nursery, router, gateways)
        code, (found,) = await ask(capsys, alice, partial(probe_gateways, JSON, Asked()))
        assert code == 0
        assert found["gateway"] == "192.168.1.1" and found["local"] == alice.address
        assert found["external_address"] == router.external_address and found["layers"] == "nat"
        assert found["schema"] == "carrick.nat.map.probe.v1"
        assert found["nat_pmp"]["found"] and found["upnp"]["found"]
        assert not found["pcp"]["found"] and "unsupported version" in found["pcp"]["error"]
        assert router.port_mappings() == {}
        with on_machine(alice):
            await probe_gateways(Settings(), Asked())
        text = capsys.readouterr().out
        assert f"upnp     yes, outside {router.external_address}" in text
        assert "pcp      no: " in text
        nursery.cancel_scope.cancel()


async def test_probe_says_no(internet: Internet, capsys: pytest.CaptureFixture[str]) -> None:
    alice, public = internet.router("home").host("alice"), internet.host("public")
    began = trio.current_time()
    code, (found,) = await ask(capsys, alice, partial(probe_gateways, JSON, Asked()))
    assert trio.current_time() - began < 4
    assert code == NOT_FOUND and found["external_address"] is None
    assert [found[via]["found"] for via in ("pcp", "nat_pmp", "upnp")] == [False] * 3
    code, (found,) = await ask(capsys, public, partial(probe_gateways, JSON, Asked()))
    assert code == NOT_FOUND and found["gateway"] is None and found["upnp"] is None


async def test_probe_behind_two_nats(
    internet: Internet, capsys: pytest.CaptureFixture[str]
) -> None:
    router = internet.router("provider", lan="100.64.7.0/24").router("home")
    async with trio.open_nursery() as nursery:
        await serve(nursery, router, [InternetGatewayDevice(router)])
        with on_machine(router.host("alice")):
            assert await probe_gateways(Settings(), Asked()) == 0
        assert "cgnat: its address outside is not public" in capsys.readouterr().out
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("via", ["pcp", "nat-pmp", "upnp"])
async def test_add_list_remove(
    internet: Internet, capsys: pytest.CaptureFixture[str], via: str
) -> None:
    router = internet.router("home")
    alice = router.host("alice")
    asked = Asked((via,))
    async with trio.open_nursery() as nursery:
        gateways = PortControlServer(router), InternetGatewayDevice(router)
        await serve(nursery, router, gateways)
        code, added = await ask(capsys, alice, partial(add_ports, JSON, asked, BOTH, lease=600.0))
        assert code == 0
        assert [(each["protocol"], each["external_port"], each["lease"]) for each in added] == [
            ("tcp", 4001, 600.0),
            ("udp", 4001, 600.0),
        ]
        assert {each["via"] for each in added} == {via}
        assert set(router.port_mappings()) == {("tcp", 4001), ("udp", 4001)}
        code, listed = await ask(capsys, alice, partial(list_ports, JSON, asked))
        assert [(each["protocol"], each["client"], each["port"]) for each in listed] == [
            ("tcp", alice.address, 4001),
            ("udp", alice.address, 4001),
        ]
        for port, each in zip(BOTH, added, strict=True):
            nonce = bytes.fromhex(each["nonce"]) if each["nonce"] else None
            assert (nonce is not None) == (via == "pcp")
            remove = partial(remove_ports, JSON, asked, (port,), nonce=nonce)
            assert (await ask(capsys, alice, remove))[0] == 0
        assert router.port_mappings() == {}
        nursery.cancel_scope.cancel()


async def test_without_a_gateway_they_fail(internet: Internet) -> None:
    alice = internet.router("home").host("alice")
    for what in (add_ports, remove_ports):
        with on_machine(alice), pytest.raises(NoGateway) as failed:
            await what(JSON, Asked(), BOTH)
        assert classify(failed.value) == ("timeout", NOT_FOUND)
    with on_machine(internet.host()), pytest.raises(NoGateway, match="not behind"):
        await list_ports(JSON, Asked())
