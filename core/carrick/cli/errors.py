"""What an error means to the shell: its exit code, its name, its line on stderr."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import click
import trio

from carrick import errors
from carrick.cli.api.client import NoNode
from carrick.cli.options import Settings
from carrick.cli.output import to_json

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "NOT_FOUND",
    "REFUSED",
    "RELAYED",
    "USAGE",
    "classify",
    "report",
]

FAILED, USAGE, RELAYED, NOT_FOUND, REFUSED, INTERRUPTED = 1, 2, 3, 4, 5, 130

# The one table: error, its name in JSON, exit code. The first row that fits counts. A `DialError`
# is named after what happened at its addresses; its own row is for what is left.
_TABLE: tuple[tuple[type[BaseException], str, int], ...] = (
    (click.exceptions.Abort, "interrupted", INTERRUPTED),
    (KeyboardInterrupt, "interrupted", INTERRUPTED),
    (click.UsageError, "usage", USAGE),
    (click.FileError, "file", FAILED),
    (errors.InvalidAddress, "invalid_address", USAGE),
    (errors.InvalidPeerId, "invalid_peer_id", USAGE),
    (errors.InvalidCid, "invalid_cid", USAGE),
    (errors.UnsupportedAddress, "unsupported_address", FAILED),
    (errors.ResolutionError, "not_resolved", NOT_FOUND),
    (errors.KeyFileError, "key_file", FAILED),
    (errors.PeerstoreError, "peerstore", FAILED),
    (errors.FileError, "io", FAILED),
    (errors.IdentityError, "identity", FAILED),
    (errors.PeerIdMismatch, "peer_id_mismatch", FAILED),
    (errors.HandshakeError, "handshake", FAILED),
    (errors.NegotiationError, "negotiation", FAILED),
    (errors.ProtocolError, "protocol", FAILED),
    (errors.PeerTimeout, "timeout", NOT_FOUND),
    (errors.NoAddresses, "not_found", NOT_FOUND),
    (errors.ResourceLimitExceeded, "limit_exceeded", REFUSED),
    (errors.ConnectionGated, "gated", REFUSED),
    (errors.RequestRefused, "refused", REFUSED),
    (NoNode, "no_node", FAILED),
    (errors.PrivateNetworkRequired, "private_network_required", REFUSED),
    (errors.LimitedConnection, "limited_connection", RELAYED),
    (errors.ProtocolNotSupported, "protocol_not_supported", FAILED),
    (errors.DialBackoff, "backoff", FAILED),
    (errors.ListenError, "listen", FAILED),
    (errors.DialError, "unreachable", FAILED),
    (errors.ConnectionClosed, "connection_closed", FAILED),
    (errors.StreamReset, "stream_reset", FAILED),
    (errors.CarrickError, "failed", FAILED),
    (trio.TooSlowError, "timeout", NOT_FOUND),
    (TimeoutError, "timeout", NOT_FOUND),
    (ConnectionRefusedError, "connection_refused", REFUSED),
    (OSError, "io", FAILED),
)

# Errors of parts that are imported when they are used, by module and name: what is not imported has
# raised nothing.
_OF_PARTS: tuple[tuple[str, str, str, int], ...] = (
    ("carrick.protocols.kademlia.errors", "NotFound", "not_found", NOT_FOUND),
    ("carrick.protocols.kademlia.errors", "NothingStored", "nothing_stored", NOT_FOUND),
    ("carrick.protocols.kademlia.errors", "InvalidRecord", "invalid_record", REFUSED),
    ("carrick.protocols.kademlia.crawler.files", "InvalidCrawl", "invalid_crawl", FAILED),
    ("carrick.protocols.kademlia.crawler.parquet", "MissingLibrary", "missing_library", FAILED),
)

_PROGRESS = (FAILED, RELAYED, REFUSED, NOT_FOUND, USAGE, INTERRUPTED)


def classify(error: BaseException) -> tuple[str, int] | None:
    """The name and exit code of an expected error; None for a defect of ours."""
    causes = list(_causes(error))
    if causes:
        known = [found for cause in causes if (found := classify(cause)) is not None]
        if known:
            # The attempt that got furthest tells most: failed there, refused, not even answered.
            return min(known, key=lambda found: _PROGRESS.index(found[1]))
    for module, type_name, name, code in _OF_PARTS:
        part = sys.modules.get(module)
        if part is not None and isinstance(error, getattr(part, type_name)):
            return name, code
    return next(((name, code) for type, name, code in _TABLE if isinstance(error, type)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What stands behind an error that only says that an attempt failed."""
    if isinstance(error, errors.DialError):
        if error.causes:
            yield from (cause for _, cause in error.causes)
        elif isinstance(error.__cause__, OSError):
            yield error.__cause__


def report(error: BaseException, settings: Settings) -> int:
    """Tell the user, as the flags ask; returns the exit code."""
    leaves = list(_leaves(error))
    unexpected = [leaf for leaf in leaves if classify(leaf) is None]
    if unexpected or settings.verbosity >= 2:
        traceback.print_exception(error, file=sys.stderr)
    main = (unexpected or leaves)[0]
    name, code = classify(main) or ("internal", FAILED)
    if code == INTERRUPTED:
        return code
    if settings.json:
        click.echo(to_json({"error": _fields(main, name)}))
    else:
        if isinstance(main, click.UsageError) and main.ctx is not None:
            click.echo(main.ctx.get_usage(), err=True)
        click.echo(f"carrick: {_text(main)}", err=True)
        if unexpected:
            click.echo("carrick: this is a defect; please report the lines above", err=True)
    return code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _fields(error: BaseException, name: str) -> dict[str, Any]:
    message = error.message if isinstance(error, errors.CarrickError) else _text(error)
    fields: dict[str, Any] = {
        "code": name,
        "message": message or name,
        "addr": getattr(error, "address", None),
    }
    if isinstance(error, errors.DialError) and error.causes:
        fields["message"] += f": {error.causes[0][1]}"
        fields["causes"] = [
            {**_fields(cause, (classify(cause) or ("internal", FAILED))[0]), "addr": address}
            for address, cause in error.causes
        ]
        fields["addr"] = fields["addr"] or error.causes[0][0]
    return fields


def _text(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        reason = error.strerror or errno.errorcode.get(error.errno, "")
        return f"{error.filename}: {reason}"
    return str(error) or type(error).__name__
