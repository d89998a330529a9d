"""Key files: the `PrivateKey` protobuf in raw bytes, mode 0600.

It is what `ipfs key export` writes and what kubo's keystore and go-libp2p programs hold.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from pathlib import Path

from carrick.errors import InvalidKey, KeyFileError
from carrick.identity.keys import MAX_KEY_SIZE, PrivateKey

__all__ = ["load_key", "save_key"]

_log = logging.getLogger(__name__)


def load_key(path: str | os.PathLike[str]) -> PrivateKey:
    """Read a key file. A file that others than its owner may open is read with a warning.

    Raises:
        KeyFileError: it is missing, not a regular file, unreadable, empty, larger than 8 KiB, or
            holds no key; the message says which.
    """
    try:
        mode = os.stat(path).st_mode  # before opening: a pipe would wait for its writer
        if not stat.S_ISREG(mode):
            raise KeyFileError(f"key file {path} is not a regular file")
        with open(path, "rb") as file:
            data = file.read(MAX_KEY_SIZE + 1)
    except OSError as error:
        raise KeyFileError(f"key file {path} cannot be read: {_reason(error)}") from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning("key file %s is open to others than its owner: chmod 600 it", path)
    if not data:
        raise KeyFileError(f"key file {path} is empty")
    if len(data) > MAX_KEY_SIZE:
        raise KeyFileError(f"key file {path} is larger than {MAX_KEY_SIZE} bytes: not a key")
    try:
        return PrivateKey.from_protobuf(data)
    except InvalidKey as error:
        raise KeyFileError(f"key file {path} holds no libp2p private key: {error}") from error


def save_key(path: str | os.PathLike[str], key: PrivateKey, *, overwrite: bool = False) -> None:
    """Write a key file, mode 0600. The file is there whole or not at all, even after a crash.

    Args:
        overwrite: replace a file that is there already.

    Raises:
        KeyFileError: there is a file already, or the folder cannot be written to.
    """
    target = Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(  # mode 0600
            dir=target.parent, prefix=f".{target.name}."
        )
        try:
            with open(descriptor, "wb") as file:
                file.write(key.to_protobuf())
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                os.replace(temporary, target)
            else:
                os.link(temporary, target)  # unlike a rename, fails if there is a file
        finally:
            if os.path.lexists(temporary):
                os.unlink(temporary)
        _sync_folder(target.parent)
    except FileExistsError as error:
        raise KeyFileError(
            f"key file {target} exists already; it is replaced only with overwrite=True"
        ) from error
    except OSError as error:
        raise KeyFileError(f"key file {target} cannot be written: {_reason(error)}") from error


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # folders cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
