"""Gateways that map ports when they are asked: programs for a router's own machine.

    gateway = PortControlServer(router)            # NAT-PMP and PCP
    nursery.start_soon(router.run, gateway.serve)

Each is written from its standard alone, and shares no code with Carrick's clients. Started again,
they have forgotten everything, as after a power failure.
"""

from carrick.sim.gateways.port_control import PortControlServer
from carrick.sim.gateways.upnp import InternetGatewayDevice

__all__ = ["InternetGatewayDevice", "PortControlServer"]
