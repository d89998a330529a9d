"""SOAP actions of a gateway's service, as bytes. No I/O.

Source: UPnP Device Architecture 1.1, section 3; WANIPConnection:1 and :2, section 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer
from carrick.protocols.portmap.mapping import MappingRefused
from carrick.protocols.portmap.upnp.xml import parse_xml

__all__ = [
    "CONFLICTS",
    "INVALID_INDEX",
    "NO_SUCH_ENTRY",
    "ONLY_PERMANENT",
    "decode_answer",
    "encode_action",
    "headers",
]

INVALID_INDEX = 713  # behind the last entry
NO_SUCH_ENTRY = 714
CONFLICTS = (718, 729)  # with another client's mapping; with another mechanism
ONLY_PERMANENT = 725  # no leases

_ERRORS = {
    401: "invalid action",
    402: "invalid arguments",
    501: "action failed",
    606: "not authorized",
    NO_SUCH_ENTRY: "no such mapping",
    715: "wildcards are not allowed for the remote host",
    716: "wildcards are not allowed for the external port",
    718: "the port is mapped to somebody else",
    724: "the ports inside and outside must be the same",
    ONLY_PERMANENT: "only permanent mappings",
    728: "no port is left",
    729: "the port is used by something else",
}


def headers(service: str, action: str) -> dict[str, str]:
    return {
        "Content-Type": 'text/xml; charset="utf-8"',
        "SOAPAction": f'"{service}#{action}"',
    }


def encode_action(service: str, action: str, arguments: Mapping[str, object]) -> bytes:
    """Args:
    service: its URN.
    arguments: in the order of the specification, which some gateways insist on.
    """
    inside = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in arguments.items())
    return (
        '<?xml version="1.0"?>\r\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{escape(service)}">{inside}</u:{action}>'
        "</s:Body></s:Envelope>\r\n"
    ).encode()


def decode_answer(data: Buffer, action: str) -> dict[str, str]:
    """The arguments that an action returned.

    Raises:
        MappingRefused: the gateway says why not.
        ProtocolError: it is neither that nor an answer to `action`.
    """
    body = parse_xml(data).child("Body")
    if body is None:
        raise ProtocolError("a SOAP answer without a body")
    answer = body.child(f"{action}Response")
    if answer is not None:
        return {each.name: each.text for each in answer.children}
    fault = next((each for each in body.all("errorCode")), None)
    if fault is None or not (fault.text.isascii() and fault.text.isdigit()) or len(fault.text) > 5:
        raise ProtocolError(f"a SOAP answer to something else than {action}")
    code = int(fault.text)
    words = _ERRORS.get(code, "an unknown reason")
    raise MappingRefused(f"{action}: {words} (UPnP error {code})", code)
