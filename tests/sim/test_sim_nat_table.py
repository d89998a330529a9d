"""The simulator's routers behave as the kernel's: the laboratory's probe, and its table."""

from __future__ import annotations

from functools import partial

import pytest

from carrick.sim import Host, Internet, Link, Router, run
from interop.natlab.expected import EXPECTED, differences
from interop.natlab.probe import NatReport, Servers, probe, serve


def place(internet: Internet, name: str) -> Host:
    """A host behind what row `name` of the table says."""
    if name == "public":
        return internet.host("prober")
    if name == "fw6":
        return internet.router("router", "fw", ipv6=True).host("prober")
    router: Router | None = None
    for kind in name.split("/"):
        if router is None:
            carrier = "100.64.1.0/24" if "/" in name else None
            router = internet.router(f"{kind}-outer", kind, lan=carrier)
        else:
            router = router.router(f"{kind}-inner", kind)
    assert router is not None
    return router.host("prober")


async def measure(internet: Internet, name: str) -> NatReport:
    import trio

    six = name == "fw6"
    server = internet.host("server", address="11.0.113.2", ipv6=six)
    server.interface.add_address("11.0.113.3")
    addresses = ["11.0.113.2", "11.0.113.3"]
    if six:
        server.interface.add_address("2a00:1:0:1::2")
        addresses = [address for address in server.addresses if ":" in address]
    prober = place(internet, name)
    async with trio.open_nursery() as nursery:
        with server.enter():
            await nursery.start(partial(serve, addresses))
        report = await prober.run(partial(probe, Servers(*addresses)))
        nursery.cancel_scope.cancel()
    assert report is not None
    assert internet.unroutable == 0, "a private address came out"
    return report


@pytest.mark.parametrize("name", EXPECTED)
def test_the_probe_gives_the_table_of_the_kernel(name: str) -> None:
    report = run(partial(measure, name=name), seed=6, access=Link(latency=0.01))
    assert list(differences(name, report)) == []
