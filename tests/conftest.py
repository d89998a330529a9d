"""Settings of the whole test run."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from carrick.identity import PeerId, PublicKey

# Two busy cores make single examples slow now and then: that is no defect.
settings.register_profile(
    "carrick", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("carrick")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name these after their parameter: test runs in parallel need names that do not vary."""
    varies = isinstance(val, bytes | PublicKey | PeerId) or "12D3KooW" in str(val)
    return argname if varies else None
