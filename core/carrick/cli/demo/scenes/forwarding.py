"""A router that forwards a port when it is asked to: then strangers dial in."""

from __future__ import annotations

from carrick import HostBuilder
from carrick.addressing import with_peer
from carrick.cli.demo.stage import BOTH, Stage
from carrick.cli.demo.words import show_path
from carrick.protocols.portmap import PortMapper
from carrick.sim.gateways import InternetGatewayDevice, PortControlServer

__all__ = ["TITLE", "play"]

TITLE = "Fay's router forwards ports when it is asked: a stranger dials in"

NAT = "port-restricted"
_NAMES = {"upnp": "UPnP", "nat-pmp": "NAT-PMP", "pcp": "PCP"}


async def play(stage: Stage) -> None:
    """Tokyo has never heard of her, and needs nobody's help."""
    router = stage.router_of("Fay", NAT)
    for gateway in (PortControlServer(router), InternetGatewayDevice(router)):
        stage.nursery.start_soon(router.run, gateway.serve)
    fay = await stage.enter("Fay", router, builder=HostBuilder().services(PortMapper))
    mapper = fay.node.service(PortMapper)
    await fay.until(lambda: len(mapper.mappings) == len(BOTH))
    for each in mapper.mappings:
        stage.say(
            fay,
            f"asked the router by {_NAMES[each.via]}: it forwards {each.port.protocol.upper()} "
            f"port {each.external_port} of {each.external_address} to her",
        )
    tokyo, started = stage.public["tokyo"], stage.internet.time()
    where = [with_peer(each, fay.node.id) for each in mapper.addresses()]
    connection = await tokyo.connect(where)
    stage.timeline.say(
        "tokyo", f"→ Fay: direct, at {show_path(connection)}", node="tokyo", since=started
    )
    stage.facts["forwarding"] = {
        "via": sorted({each.via for each in mapper.mappings}),
        "mappings": [str(each.port) for each in mapper.mappings],
        "address": connection.remote_address,
    }
    stage.focus("Fay", "Fay's router", "tokyo")
