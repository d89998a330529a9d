"""A page in a real Chromium, with js-libp2p, dials Carrick."""

from __future__ import annotations

import warnings

import pytest

from carrick import HostBuilder
from carrick.protocols.perf import Perf
from interop.browser.chromium import BrowserMissing, find_browser, find_page, visit

pytestmark = pytest.mark.timeout(200)  # beyond that of a visit

MIB = 1 << 20
PATIENCE = 180  # s; one visit takes two, but a browser on a busy machine takes its time


def require_browser() -> None:
    try:
        find_browser()
        find_page()
    except BrowserMissing as missing:
        warnings.warn(f"NO BROWSER TEST: {missing}", stacklevel=1)
        pytest.skip(str(missing))


async def test_a_browser_dials_websocket() -> None:
    require_browser()
    builder = HostBuilder().services(Perf())
    where = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws")  # one port for both
    async with builder.listen(*where).open() as host:
        address = next(str(each) for each in host.addresses if "/ws" in str(each))
        result = await visit(
            PATIENCE, address=address, transport="ws", upload=3 * MIB, download=5 * MIB + 1
        )
        assert "error" not in result, result
        assert result["peer"] == str(host.id)
        assert result["agentVersion"].startswith("carrick/")
        assert result["received"] == 5 * MIB + 1


async def test_a_browser_dials_webtransport() -> None:
    require_browser()
    builder = HostBuilder().services(Perf())
    where = "/ip4/127.0.0.1/udp/0/quic-v1"  # one socket for both
    async with builder.listen(where).open() as host:
        quic = next(iter(host.addresses))
        port = quic.value_for_protocol("udp")
        await host.listen(f"/ip4/127.0.0.1/udp/{port}/quic-v1/webtransport")
        address = next(str(each) for each in host.addresses if "/webtransport" in str(each))
        result = await visit(
            PATIENCE,
            address=address,
            transport="webtransport",
            upload=3 * MIB,
            download=5 * MIB + 1,
        )
        assert "error" not in result, result
        assert result["peer"] == str(host.id)
        assert result["agentVersion"].startswith("carrick/")
        assert result["received"] == 5 * MIB + 1
