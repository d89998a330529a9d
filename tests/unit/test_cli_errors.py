"""The table of exit codes, and how errors are told."""

from __future__ import annotations

import json

import click
import pytest
import trio

from carrick import errors
from carrick.cli.errors import classify, report
from carrick.cli.options import Settings


def dial_error(*causes: BaseException) -> errors.DialError:
    return errors.DialError("not reached", causes=[("/ip4/192.0.2.7/tcp/1", c) for c in causes])


def from_os(error: OSError) -> errors.DialError:
    wrapped = errors.DialError(str(error))
    wrapped.__cause__ = error
    return wrapped


LIMIT = errors.ResourceLimitExceeded(scope="system", limit="connections", maximum=1, present=1)
MISMATCH = errors.PeerIdMismatch("somebody else")
TIMEOUT = errors.PeerTimeout("no answer")
REFUSED = from_os(ConnectionRefusedError(111, "Connection refused"))


@pytest.mark.parametrize(
    ("error", "name", "code"),
    [
        (click.UsageError("no"), "usage", 2),
        (errors.InvalidAddress("no"), "invalid_address", 2),
        (errors.UnsupportedAddress("no"), "unsupported_address", 1),
        (errors.KeyFileError("no"), "key_file", 1),
        (errors.ListenError("in use"), "listen", 1),
        (errors.ProtocolNotSupported("no"), "protocol_not_supported", 1),
        (errors.NoAddresses("none"), "not_found", 4),
        (errors.ResolutionError("none"), "not_resolved", 4),
        (errors.LimitedConnection("relayed"), "limited_connection", 3),
        (LIMIT, "limit_exceeded", 5),
        (errors.ConnectionGated("no"), "gated", 5),
        (errors.PrivateNetworkRequired("no"), "private_network_required", 5),
        (MISMATCH, "peer_id_mismatch", 1),
        (TIMEOUT, "timeout", 4),
        (trio.TooSlowError(), "timeout", 4),
        (OSError("broken"), "io", 1),
        (errors.DialError("no"), "unreachable", 1),
        (dial_error(TIMEOUT, TIMEOUT), "timeout", 4),
        (dial_error(TIMEOUT, REFUSED), "connection_refused", 5),
        (dial_error(TIMEOUT, REFUSED, MISMATCH), "peer_id_mismatch", 1),
        (dial_error(LIMIT), "limit_exceeded", 5),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_exit_codes(error: BaseException, name: str, code: int) -> None:
    assert classify(error) == (name, code)


@pytest.mark.parametrize("error", [ZeroDivisionError(), AssertionError(), TypeError("x")])
def test_defects_are_not_expected(error: Exception) -> None:
    assert classify(error) is None


def test_report_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("nursery", [errors.ListenError("port in use", address="/ip4/…")])
    assert report(group, Settings()) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "carrick: port in use (address /ip4/…)\n"


def test_report_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(dial_error(MISMATCH), Settings(json=True)) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    error = json.loads(out)["error"]
    assert error["code"] == "peer_id_mismatch"
    assert error["addr"] == "/ip4/192.0.2.7/tcp/1"
    assert error["message"] == "not reached: somebody else"
    assert [cause["code"] for cause in error["causes"]] == ["peer_id_mismatch"]


def test_defect_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("oops"), Settings(json=True)) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "internal"
    assert "ZeroDivisionError: oops" in err


def test_traceback_only_at_vv(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.KeyFileError("unreadable")
    report(error, Settings(verbosity=1))
    assert "KeyFileError" not in capsys.readouterr().err
    report(error, Settings(verbosity=2))
    assert "KeyFileError: unreadable" in capsys.readouterr().err
