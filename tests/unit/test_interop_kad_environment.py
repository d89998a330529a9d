"""What the kad-dht suite says to the app."""

from __future__ import annotations

import pytest

from interop.apps.environment import SettingsError
from interop.apps.kad_environment import Role, parse

ENV = {"ROLE": "querier", "REDIS_ADDR": "transport-redis:6379", "TEST_KEY": "a5b50d5e"}


@pytest.mark.parametrize("role", Role)
def test_the_roles(role: Role) -> None:
    settings = parse({**ENV, "ROLE": role.value})
    node = settings.node
    assert settings.role is role
    assert (node.transport, node.security, node.muxer) == ("tcp", "noise", "yamux")
    assert (node.redis, settings.timeout, settings.debug) == (("transport-redis", 6379), 180, False)
    assert settings.address_key == "a5b50d5e_bootstrap_addr"
    assert settings.done_key == "a5b50d5e_provider_done"
    assert settings.content == b"interop-test-key-a5b50d5e"
    assert settings.record == b"/example/data/a5b50d5e"
    assert node.is_dialer is (role is Role.QUERIER)


@pytest.mark.parametrize("field", ["ROLE", "REDIS_ADDR", "TEST_KEY"])
@pytest.mark.parametrize("value", ["", "nonsense"])
def test_what_is_missing_or_malformed(field: str, value: str) -> None:
    if (field, value) == ("TEST_KEY", "nonsense"):
        return
    with pytest.raises(SettingsError, match=field):
        parse({**ENV, field: value})
