"""Keys of the DHT, in the forms that people type."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["KeyType", "parse_key"]

MAX_KEY = 1024  # bytes

_FORMS = "a key is a CID, a peer id, /ipns/<peer id>, /pk/<peer id>, or 0x and hexadecimal digits"


class KeyType(click.ParamType[bytes]):
    """See `parse_key`.

    Args:
        value: a value is to stand under the key.
    """

    name = "key"

    def __init__(self, *, value: bool = False) -> None:
        self._value = value

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        key = parse_key(value) if isinstance(value, str) else bytes(value)
        if self._value and not key.startswith(b"/"):
            raise click.UsageError(
                "values stand under /ipns/<peer id>, /pk/<peer id>, or a namespace of your own; "
                "who has some content, of a CID, is what `carrick dht findprovs` tells"
            )
        return key


def parse_key(text: str) -> bytes:
    """The key's bytes: of a CID its multihash, of a peer id its bytes.

    Raises:
        click.UsageError: it is no key.
        InvalidCid, InvalidPeerId: it looks like one, but is none; the message says why.
    """
    from carrick.addressing import Cid
    from carrick.errors import InvalidCid
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
        try:
            key = Cid.parse(text).multihash
        except InvalidCid as error:
            raise InvalidCid(f"{error}; {_FORMS}") from error
    else:
        key = b""
    if not 0 < len(key) <= MAX_KEY:
        raise click.UsageError(f"{text[:80]!r}: {_FORMS}; at most {MAX_KEY} bytes")
    return key
