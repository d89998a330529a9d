"""The file with a private network's key, `swarm.key`.

::

    /key/swarm/psk/1.0.0/
    /base16/                        or /base64/ or /bin/
    <the 32 bytes of the key, encoded so>
"""

from __future__ import annotations

import base64
import binascii
from os import PathLike
from pathlib import Path

from carrick.errors import KeyFileError
from carrick.transports.security.pnet.xsalsa20 import KEY_SIZE

__all__ = ["encode_swarm_key", "load_swarm_key", "parse_swarm_key"]

_CODEC = b"/key/swarm/psk/1.0.0/"
_MAX_FILE = 1024  # bytes; base16, the longest form, needs about 100


def parse_swarm_key(data: bytes) -> bytes:
    """The 32-byte key in the contents of a key file.

    Raises:
        KeyFileError: what is wrong with it. The message holds nothing of the key.
    """
    codec, _, rest = data.partition(b"\n")
    if codec.rstrip(b"\r") != _CODEC:
        raise KeyFileError(f"a swarm key begins with the line {_CODEC.decode()}")
    encoding, _, text = rest.partition(b"\n")
    encoding = encoding.rstrip(b"\r")
    try:
        if encoding == b"/base16/":
            key = binascii.unhexlify(text.strip())
        elif encoding == b"/base64/":
            key = base64.b64decode(text.strip(), validate=True)
        elif encoding == b"/bin/":
            # An editor may have added a line end; no more than that is forgiven.
            key = text[:KEY_SIZE] + text[KEY_SIZE:].strip(b"\r\n")
        else:
            raise KeyFileError(
                "the second line of a swarm key is its encoding: /base16/, /base64/ or /bin/"
            )
    except ValueError as error:
        name = encoding.decode().strip("/")
        raise KeyFileError(f"the swarm key is not {name}: {error}") from None
    if len(key) != KEY_SIZE:
        raise KeyFileError(f"a swarm key has {KEY_SIZE} bytes, this one has {len(key)}")
    return key


def encode_swarm_key(key: bytes) -> bytes:
    """The contents of a key file in base16, the form that every implementation reads."""
    return _CODEC + b"\n/base16/\n" + key.hex().encode() + b"\n"


def load_swarm_key(path: str | PathLike[str]) -> bytes:
    """The 32-byte key in a file.

    Raises:
        KeyFileError: it cannot be read, or is no swarm key.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read the swarm key {path}: {error.strerror}") from error
    if len(data) > _MAX_FILE:
        raise KeyFileError(f"{path} is too long for a swarm key")
    try:
        return parse_swarm_key(data)
    except KeyFileError as error:
        raise KeyFileError(f"{path}: {error.message}") from None
