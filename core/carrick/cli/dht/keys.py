"""Keys of the DHT, in the forms that people type."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["KeyType", "parse_key"]

MAX_KEY = 1024  # bytes

_FORMS = "a key is a CID, a peer id, /ipns/<peer id>, /pk/<peer id>, or 0x and hexadecimal digits"


class KeyType(click.ParamType[bytes]):
    """See `parse_key`."""

    name = "key"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        return parse_key(value) if isinstance(value, str) else bytes(value)


def parse_key(text: str) -> bytes:
    """The key's bytes: of a CID its multihash, of a peer id its bytes.

    Raises:
        click.UsageError: it is no key.
        InvalidCid, InvalidPeerId: it looks like one, but is none; the message says why.
    """
    from carrick.addressing import Cid
    from carrick.identity import PeerId

    if text.startswith("0x"):
        try:
            key = bytes.fromhex(text[2:])
        except ValueError as error:
            raise click.UsageError(f"{text[:80]!r}: {error}") from error
    elif text.startswith(("/ipns/", "/pk/")):
        _, namespace, name = text.split("/", 2)
        key = b"/%s/%s" % (namespace.encode(), PeerId.parse(name).to_bytes())
    elif text.startswith("/"):
        key = text.encode()  # a namespace of somebody's own
    elif text.startswith("1"):
        key = PeerId.parse(text).to_bytes()
    elif text:
        key = Cid.parse(text).multihash
    else:
        key = b""
    if not 0 < len(key) <= MAX_KEY:
        raise click.UsageError(f"{text[:80]!r}: {_FORMS}; at most {MAX_KEY} bytes")
    return key
