"""`carrick nat map`: have the router forward ports, by PCP, NAT-PMP or UPnP."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from typing import Any

import click
import trio

from carrick.cli.errors import NOT_FOUND
from carrick.cli.options import Command, Duration, Settings
from carrick.cli.output import Output
from carrick.host import Layers
from carrick.protocols.portmap import (
    FAILURES,
    PROTOCOLS,
    Found,
    GatewayClient,
    Mapping,
    NoGateway,
    PcpClient,
    Place,
    Port,
    UpnpClient,
    find_place,
    layers_of,
    probe,
)
from carrick.sockets import current_sockets

__all__ = ["Asked", "add_ports", "command", "list_ports", "probe_gateways", "remove_ports"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What every subcommand is told: by which protocols to ask, and whom."""

    protocols: tuple[str, ...] = PROTOCOLS
    gateway: str | None = None


class _Ports(click.ParamType[tuple[Port, ...]]):
    """`4001/tcp`, `4001/udp`, or `4001` for both."""

    name = "port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Port, ...]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})(?:/(tcp|udp))?", value)
        if match is None or not 0 < int(match[1]) < 65536:
            self.fail(f"{value!r} is no port such as 4001, 4001/tcp or 4001/udp", param, ctx)
        number = int(match[1])
        if match[2]:
            return (Port("tcp" if match[2] == "tcp" else "udp", number),)
        return Port("tcp", number), Port("udp", number)


class _Nonce(click.ParamType[bytes]):
    """96 bits in hexadecimal digits."""

    name = "nonce"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        if isinstance(value, bytes):
            return value
        if not re.fullmatch(r"[0-9a-fA-F]{24}", value):
            self.fail(f"{value!r} is no nonce: 24 hexadecimal digits", param, ctx)
        return bytes.fromhex(value)


def _gateway(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else str(IPv4Address(value))
    except AddressValueError as error:
        raise click.BadParameter(f"no IPv4 address: {value}") from error


def _asking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of `Asked`."""

    def wrapped(proto: tuple[str, ...], gateway: str | None, **values: Any) -> Any:
        return function(asked=Asked(proto or PROTOCOLS, gateway), **values)

    wrapped.__doc__ = function.__doc__
    proto = click.option(
        "--proto",
        multiple=True,
        type=click.Choice(PROTOCOLS),
        help="Ask by this protocol; repeatable. Default: by all of them.",
    )
    gateway = click.option(
        "--gateway",
        metavar="IP",
        callback=_gateway,
        help="The router's address. Default: that of the default route.",
    )
    return proto(gateway(wrapped))


@click.group("map")
def command() -> None:
    """Have the router forward ports to this machine, by PCP, NAT-PMP or UPnP."""


@command.command("probe", cls=Command)
@_asking
@click.pass_obj
def _probe(settings: Settings, asked: Asked) -> int:
    """Ask whether the router forwards ports; nothing is changed."""
    return trio.run(probe_gateways, settings, asked)


@command.command("ls", cls=Command)
@_asking
@click.pass_obj
def _ls(settings: Settings, asked: Asked) -> int:
    """List the ports that the router forwards, to whomever. Only UPnP can tell."""
    return trio.run(list_ports, settings, asked)


@command.command("add", cls=Command)
@click.argument("port", type=_Ports(), metavar="PORT[/tcp|/udp]")
@click.option(
    "--external", type=click.IntRange(1, 65535), help="The router's port. Default: the same."
)
@click.option(
    "--lease", type=Duration(), default="1h", show_default=True, help="For how long; up to a day."
)
@_asking
@click.pass_obj
def _add(
    settings: Settings, port: tuple[Port, ...], external: int | None, lease: float, asked: Asked
) -> int:
    """Have the router forward a port to this machine. It stays until the lease ends."""
    if not 1 <= lease <= 86400:
        raise click.UsageError("--lease is from a second to a day")
    return trio.run(partial(add_ports, settings, asked, port, external=external, lease=lease))


@command.command("rm", cls=Command)
@click.argument("port", type=_Ports(), metavar="PORT[/tcp|/udp]")
@click.option("--external", type=click.IntRange(1, 65535), help="The router's, if another.")
@click.option("--nonce", type=_Nonce(), help="What `add` told, if it was by PCP.")
@_asking
@click.pass_obj
def _rm(
    settings: Settings,
    port: tuple[Port, ...],
    external: int | None,
    nonce: bytes | None,
    asked: Asked,
) -> int:
    """Have the router forward a port to this machine no longer."""
    return trio.run(partial(remove_ports, settings, asked, port, external=external, nonce=nonce))


# --- what they do ---------------------------------------------------------------------------------


async def probe_gateways(settings: Settings, asked: Asked) -> int:
    place = _place(asked)
    found = await probe(current_sockets(), place, asked.protocols, random.Random()) if place else []
    outside = next((each.external_address for each in found if each.external_address), None)
    layers = Layers.UNKNOWN
    if outside is not None:
        layers = layers_of(outside, current_sockets().interface_addresses())
    fields: dict[str, Any] = {
        "gateway": place.gateway if place else None,
        "local": str(place.local.ip) if place else None,
        "external_address": str(outside) if outside else None,
        "layers": layers.value,
    }
    for via in asked.protocols:
        mine = (_fields(each) for each in found if each.via == via)
        fields[via.replace("-", "_")] = next(mine, None)
    Output(settings, "nat.map.probe").result(fields, "\n".join(_lines(place, found, layers)))
    return 0 if any(each.client for each in found) else NOT_FOUND


async def list_ports(settings: Settings, asked: Asked) -> int:
    output = Output(settings, "nat.map.ls")
    _, clients = await _clients(asked, ("upnp",))  # others cannot tell
    for client in clients:
        assert isinstance(client, UpnpClient)
        for entry in await client.entries():
            fields = {
                "external_port": entry.external_port,
                "protocol": entry.protocol,
                "client": entry.client,
                "port": entry.port,
                "description": entry.description,
                "lease": entry.lease,
            }
            lease = f"{entry.lease} s" if entry.lease else "no end"
            text = f"{entry.external_port}/{entry.protocol} → {entry.client}:{entry.port}"
            output.result(fields, f"{text}  {entry.description!r}  {lease}")
    return 0


async def add_ports(
    settings: Settings,
    asked: Asked,
    ports: Sequence[Port],
    *,
    external: int | None = None,
    lease: float = 3600.0,
) -> int:
    output = Output(settings, "nat.map.add")
    failure: BaseException | None = None
    _, clients = await _clients(asked, asked.protocols)
    for client in clients:
        try:
            made = [await client.map(port, external or port.number, lease) for port in ports]
        except FAILURES as error:
            failure = error
            continue
        for mapping in made:
            nonce = client.nonce(mapping.port).hex() if isinstance(client, PcpClient) else None
            output.result(_mapping_fields(mapping, nonce), str(mapping))
            if nonce is not None:
                output.note(f"remove it: carrick nat map rm {mapping.port} --nonce {nonce}")
        return 0
    assert failure is not None
    raise failure


async def remove_ports(
    settings: Settings,
    asked: Asked,
    ports: Sequence[Port],
    *,
    external: int | None = None,
    nonce: bytes | None = None,
) -> int:
    output = Output(settings, "nat.map.rm")
    protocols = [via for via in asked.protocols if (via == "pcp") == (nonce is not None)]
    if not protocols:
        raise click.UsageError("mappings by PCP are removed by the --nonce that `add` told")
    failure: BaseException | None = None
    done = 0
    place, clients = await _clients(asked, protocols)
    for client in clients:
        for port in ports:
            if isinstance(client, PcpClient) and nonce is not None:
                client.set_nonce(port, nonce)
            local = place.local.ip
            mapping = Mapping(port, local, external or port.number, None, 0.0, client.via)
            try:
                await client.unmap(mapping)
            except FAILURES as error:
                failure = error
                continue
            done += 1
            fields = {"port": port.number, "protocol": port.protocol, "via": client.via}
            output.result(fields, f"{port} is not forwarded by {client.via}")
    if failure is not None and not done:
        raise failure
    return 0


def _place(asked: Asked) -> Place | None:
    sockets = current_sockets()
    return find_place(sockets.interface_addresses(), sockets.default_gateways(), asked.gateway)


async def _clients(asked: Asked, protocols: Sequence[str]) -> tuple[Place, list[GatewayClient]]:
    """Where we are, and every gateway there.

    Raises:
        NoGateway: there is none.
    """
    place = _place(asked)
    if place is None:
        raise NoGateway("this machine is not behind a gateway")
    found = await probe(current_sockets(), place, protocols, random.Random())
    clients = [each.client for each in found if each.client is not None]
    if not clients:
        raise NoGateway(f"no gateway here maps ports ({', '.join(protocols)})")
    return place, clients


def _fields(found: Found) -> dict[str, Any]:
    return {
        "found": found.client is not None,
        "external_address": str(found.external_address) if found.external_address else None,
        "error": str(found.error) if found.error else None,
    }


def _lines(place: Place | None, found: Sequence[Found], layers: Layers) -> list[str]:
    if place is None:
        return ["no: this machine is not behind a gateway"]
    lines = [f"gateway  {place.gateway or 'not known'} (we are {place.local.ip})"]
    for each in found:
        answer = f"no: {each.error}" if each.error else "yes"
        outside = f", outside {each.external_address}" if each.external_address else ""
        if each.client and not outside and each.via != "pcp":  # which cannot tell
            outside = ", but it has no usable address outside"
        lines.append(f"{each.via:<8} {answer}{outside}")
    if layers in (Layers.DOUBLE, Layers.CARRIER):
        lines.append(f"{layers.value}: its address outside is not public")
    return lines


def _mapping_fields(mapping: Mapping, nonce: str | None) -> dict[str, Any]:
    outside = mapping.external_address
    return {
        "port": mapping.port.number,
        "protocol": mapping.port.protocol,
        "client": str(mapping.client),
        "external_port": mapping.external_port,
        "external_address": str(outside) if outside else None,
        "lease": None if mapping.lifetime == float("inf") else mapping.lifetime,
        "via": mapping.via,
        "nonce": nonce,
    }
