"""The two dialects of the official suites' environment."""

from __future__ import annotations

import pytest

from interop.apps.environment import Dialect, SettingsError, parse, parse_endpoint, read_number

UT = {
    "IS_DIALER": "true",
    "REDIS_ADDR": "transport-redis:6379",
    "TEST_KEY": "a5b50d5e",
    "TRANSPORT": "tcp",
    "SECURE_CHANNEL": "noise",
    "MUXER": "yamux",
    "LISTENER_IP": "10.0.0.2",
    "DEBUG": "true",
}
TP = {
    "version": "carrick-v0.1",
    "is_dialer": "false",
    "ip": "0.0.0.0",
    "transport": "tcp",
    "security": "tls",
    "muxer": "mplex",
}


def test_unified_testing() -> None:
    settings = parse(UT)
    assert settings.dialect is Dialect.UT
    assert settings.is_dialer and settings.debug
    assert settings.redis == ("transport-redis", 6379)
    assert settings.key == "a5b50d5e_listener_multiaddr"
    assert (settings.transport, settings.security, settings.muxer) == ("tcp", "noise", "yamux")
    assert (settings.listen_ip, settings.timeout) == ("10.0.0.2", 180)


def test_test_plans() -> None:
    settings = parse(TP)
    assert settings.dialect is Dialect.TP
    assert not settings.is_dialer and not settings.debug
    assert settings.redis == ("redis", 6379)
    assert settings.key == "listenerAddr"
    assert (settings.security, settings.muxer, settings.timeout) == ("tls", "mplex", 180)
    assert parse({**TP, "redis_addr": "p:1", "test_timeout_seconds": "7"}).redis == ("p", 1)


def test_unified_testing_wins_where_both_are_set() -> None:
    assert parse({**TP, **UT}).dialect is Dialect.UT


def test_a_standalone_transport_has_no_security_and_no_muxer() -> None:
    settings = parse({**UT, "TRANSPORT": "quic-v1", "SECURE_CHANNEL": "null", "MUXER": ""})
    assert settings.security is None and settings.muxer is None


@pytest.mark.parametrize("name", ["REDIS_ADDR", "TEST_KEY", "TRANSPORT", "SECURE_CHANNEL", "MUXER"])
@pytest.mark.parametrize("value", [None, "", "null"])
def test_what_is_missing_is_named(name: str, value: str | None) -> None:
    env = {key: text for key, text in UT.items() if key != name}
    with pytest.raises(SettingsError, match=name):
        parse(env if value is None else {**env, name: value})


@pytest.mark.parametrize("env", [{}, {"TRANSPORT": "tcp"}, {**UT, "IS_DIALER": "yes"}])
def test_neither_suite(env: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        parse(env)


@pytest.mark.parametrize("text", [None, "", "null", " "])
def test_a_count_that_is_not_set(text: str | None) -> None:
    env = {} if text is None else {"N": text}
    assert read_number(env, "N", 10) == 10


def test_counts() -> None:
    assert read_number({"N": " 3 "}, "N", 10) == 3
    for text in ("-1", "1.5", "ten", "²", "9" * 30):
        with pytest.raises(SettingsError, match="N is no count"):
            read_number({"N": text}, "N", 10)


def test_endpoints() -> None:
    assert parse_endpoint("R", "[::1]:6379") == ("::1", 6379)
    for text in ("redis", ":1", "redis:", "redis:0", "redis:70000", "redis:1x"):
        with pytest.raises(SettingsError, match="R is not host:port"):
            parse_endpoint("R", text)
