"""A UPnP Internet Gateway Device, version 1 or 2, for a simulated router."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from xml.etree import ElementTree

import h11
import trio

from carrick.sim.nat import PortTaken
from carrick.sim.packet import Endpoint
from carrick.sim.router import Router
from carrick.sim.tcp import TcpConnection

__all__ = ["InternetGatewayDevice"]

GROUP, SSDP_PORT = "239.255.255.250", 1900
_URN = "urn:schemas-upnp-org:"
_DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor>
</specVersion><device><deviceType>{urn}device:InternetGatewayDevice:{version}</deviceType>
<friendlyName>simulated</friendlyName><deviceList><device>
<deviceType>{urn}device:WANDevice:{version}</deviceType><deviceList><device>
<deviceType>{urn}device:WANConnectionDevice:{version}</deviceType><serviceList><service>
<serviceType>{service}</serviceType><serviceId>{urn}serviceId:WANIPConn1</serviceId>
<SCPDURL>/WANIPCn.xml</SCPDURL><controlURL>/ctl/IPConn</controlURL>
<eventSubURL>/evt/IPConn</eventSubURL></service></serviceList></device></deviceList></device>
</deviceList></device></root>
"""


class _Fault(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class InternetGatewayDevice:
    """Answers SSDP searches, describes itself and maps ports, on the router's LAN address.

    Args:
        version: 1, or 2, which knows AddAnyPortMapping.
        ppp: it has a WANPPPConnection:1 in place of a WANIPConnection.
        permanent_only: it knows no leases, and says so by error 725.
        http_port: where it is controlled.

    Attributes:
        actions: (time, name) of each action.
    """

    def __init__(
        self,
        router: Router,
        *,
        version: int = 2,
        ppp: bool = False,
        permanent_only: bool = False,
        http_port: int = 5000,
    ) -> None:
        self.actions: list[tuple[float, str]] = []
        self._router = router
        self._version = version
        self._permanent_only = permanent_only
        self._http_port = http_port
        kind = "WANPPPConnection:1" if ppp else f"WANIPConnection:{version}"
        self._service = f"{_URN}service:{kind}"
        self._made: dict[tuple[str, int], str] = {}  # with the description of each

    @property
    def _inside(self) -> str:
        inside = self._router.lan.gateway
        assert inside is not None
        return inside.addresses[0]

    async def serve(self) -> None:
        """Serve until cancelled, with nothing mapped at first."""
        for protocol, port in self._made:
            self._router.unmap_port(protocol, port)
        self._made.clear()
        listener = await self._router.sockets.listen_tcp((self._inside, self._http_port))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_searches)
                while True:
                    nursery.start_soon(self._serve_http, await listener.accept())
        finally:
            listener.close()

    # --- SSDP -------------------------------------------------------------------------------------

    async def _serve_searches(self) -> None:
        socket = await self._router.sockets.open_udp(("0.0.0.0", SSDP_PORT), share_port=True)
        try:
            socket.join(GROUP, self._inside)
            buffer = memoryview(bytearray(65535))
            while True:
                await socket.wait_readable()
                received = socket.recv_into(buffer)
                if received is not None:
                    answer = self._answer_search(bytes(buffer[: received[0]]))
                    if answer:
                        socket.send(answer, len(answer), received[2])
        finally:
            socket.close()

    def _answer_search(self, data: bytes) -> bytes:
        lines = data.decode("latin-1").split("\r\n")
        if lines[0] != "M-SEARCH * HTTP/1.1":
            return b""
        fields = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        target = fields.get("st", "")
        kind, _, version = target.rpartition(":")
        ours = {
            f"{_URN}device:InternetGatewayDevice": self._version,
            self._service.rpartition(":")[0]: int(self._service[-1]),
        }
        if fields.get("man") != '"ssdp:discover"' or not version.isdigit():
            return b""
        if not 0 < int(version) <= ours.get(kind, 0):
            return b""
        return (
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n"
            f"ST: {target}\r\nUSN: uuid:simulated::{target}\r\nEXT:\r\nSERVER: carrick.sim\r\n"
            f"LOCATION: http://{self._inside}:{self._http_port}/rootDesc.xml\r\n\r\n"
        ).encode()

    # --- HTTP -------------------------------------------------------------------------------------

    async def _serve_http(self, connection: TcpConnection) -> None:
        http = h11.Connection(h11.SERVER)
        request, body = None, b""
        buffer = memoryview(bytearray(65535))
        try:
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    received = connection.recv_into(buffer)
                    if received is None:
                        await connection.wait_readable()
                    else:
                        http.receive_data(bytes(buffer[:received]))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage) and request is not None:
                    break
                else:
                    return
            status, answer = self._answer_http(request, body)
            head = h11.Response(
                status_code=status,
                headers=[("Content-Type", "text/xml"), ("Content-Length", str(len(answer)))],
            )
            out = b"".join(
                http.send(each) or b"" for each in (head, h11.Data(data=answer), h11.EndOfMessage())
            )
            rest = memoryview(out)
            while rest:
                sent = connection.send(rest)
                if sent is None:
                    await connection.wait_writable()
                else:
                    rest = rest[sent:]
        except (OSError, trio.ClosedResourceError, h11.RemoteProtocolError):
            return
        finally:
            connection.close()

    def _answer_http(self, request: h11.Request, body: bytes) -> tuple[int, bytes]:
        target = request.target.decode()
        if request.method == b"GET" and target == "/rootDesc.xml":
            text = _DESCRIPTION.format(urn=_URN, version=self._version, service=self._service)
            return 200, text.encode()
        if request.method != b"POST" or target != "/ctl/IPConn":
            return 404, b""
        action = dict(request.headers)[b"soapaction"].decode().strip('"').partition("#")[2]
        arguments = {
            each.tag: each.text or ""
            for call in ElementTree.fromstring(body).iter(f"{{{self._service}}}{action}")
            for each in call
        }
        self.actions.append((self._router.internet.time(), action))
        try:
            answer = self._actions()[action](arguments)
        except (_Fault, KeyError) as fault:
            code = fault.code if isinstance(fault, _Fault) else 401
            detail = (
                "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>"
                '<detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
                f"<errorCode>{code}</errorCode></UPnPError></detail></s:Fault>"
            )
            return 500, _envelope(detail)
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in answer.items())
        text = f'<u:{action}Response xmlns:u="{self._service}">{inside}</u:{action}Response>'
        return 200, _envelope(text)

    # --- actions ----------------------------------------------------------------------------------

    def _actions(self) -> dict[str, Callable[[dict[str, str]], dict[str, object]]]:
        actions: dict[str, Callable[[dict[str, str]], dict[str, object]]] = {
            "GetExternalIPAddress": lambda _: {
                "NewExternalIPAddress": self._router.external_address
            },
            "GetStatusInfo": lambda _: {"NewConnectionStatus": "Connected"},
            "AddPortMapping": self._add,
            "DeletePortMapping": self._delete,
            "GetSpecificPortMappingEntry": self._entry,
            "GetGenericPortMappingEntry": self._generic_entry,
        }
        if self._service.endswith("WANIPConnection:2"):
            actions["AddAnyPortMapping"] = self._add_any
        return actions

    def _add(self, arguments: dict[str, str]) -> dict[str, object]:
        self._map(arguments, int(arguments["NewExternalPort"]))
        return {}

    def _add_any(self, arguments: dict[str, str]) -> dict[str, object]:
        try:
            return {"NewReservedPort": self._map(arguments, int(arguments["NewExternalPort"]))}
        except _Fault as fault:
            if fault.code != 718:
                raise
        return {"NewReservedPort": self._map(arguments, 0)}

    def _map(self, arguments: dict[str, str], port: int) -> int:
        lease = int(arguments["NewLeaseDuration"])
        if self._permanent_only and lease:
            raise _Fault(725)
        protocol = arguments["NewProtocol"].lower()
        internal = (arguments["NewInternalClient"], int(arguments["NewInternalPort"]))
        try:
            port = self._router.map_port(protocol, port, internal, lifetime=lease or inf)
        except PortTaken:
            raise _Fault(718) from None
        self._made[protocol, port] = arguments["NewPortMappingDescription"]
        return port

    def _delete(self, arguments: dict[str, str]) -> dict[str, object]:
        key = arguments["NewProtocol"].lower(), int(arguments["NewExternalPort"])
        if key not in self._router.port_mappings():
            raise _Fault(714)
        self._router.unmap_port(*key)
        self._made.pop(key, None)
        return {}

    def _entry(self, arguments: dict[str, str]) -> dict[str, object]:
        key = arguments["NewProtocol"].lower(), int(arguments["NewExternalPort"])
        found = self._router.port_mappings().get(key)
        if found is None:
            raise _Fault(714)
        return self._fields(key, *found)

    def _generic_entry(self, arguments: dict[str, str]) -> dict[str, object]:
        entries = list(self._router.port_mappings().items())
        index = int(arguments["NewPortMappingIndex"])
        if index >= len(entries):
            raise _Fault(713)
        key, found = entries[index]
        return {
            "NewRemoteHost": "",
            "NewExternalPort": key[1],
            "NewProtocol": key[0].upper(),
            **self._fields(key, *found),
        }

    def _fields(self, key: tuple[str, int], internal: Endpoint, left: float) -> dict[str, object]:
        return {
            "NewInternalPort": internal[1],
            "NewInternalClient": internal[0],
            "NewEnabled": 1,
            "NewPortMappingDescription": self._made.get(key, ""),
            "NewLeaseDuration": 0 if left == inf else int(left),
        }


def _envelope(inside: str) -> bytes:
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<s:Body>{inside}</s:Body></s:Envelope>"
    ).encode()
