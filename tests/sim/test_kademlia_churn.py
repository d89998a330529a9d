"""A hundred nodes of a DHT in churn for one virtual hour: `benchmarks.kademlia` plays the same with
1,000 nodes for two."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from benchmarks.kademlia.scenario import measure

WANTED = 0.999
EXACT = 0.99

pytestmark = pytest.mark.timeout(300)


@cache
def found() -> dict[str, Any]:
    """One run for all tests."""
    return measure(100, hours=1.0, operations=1000, lookups=100, seed=1)


def share(score: dict[str, Any], least: int) -> float:
    assert score["tried"] >= least
    return score["worked"] / score["tried"]  # type: ignore[no-any-return]


def test_lookups_find_the_true_nearest() -> None:
    for score in (found()["exact"], found()["churned"]):
        assert share(score, 100) >= EXACT, score["failures"]


@pytest.mark.parametrize(("kind", "least"), [("values", 300), ("providers", 300), ("orphans", 50)])
def test_what_was_placed_is_found(kind: str, least: int) -> None:
    """A tenth of all nodes restarts every ten minutes and forgets everything."""
    assert found()["restarts"] == 60
    assert found()["left_for_good"] == 5
    score = found()["reads"][kind]
    assert share(score, least) >= WANTED, score["failures"]


@pytest.mark.parametrize("kind", ["values", "providers"])
def test_everything_is_placed(kind: str) -> None:
    score = found()["writes"][kind]
    assert share(score, 50) >= WANTED, score["failures"]


def test_a_lookup_costs_what_theory_says() -> None:
    """At most log2 of 50 servers hops; the 20 nearest are asked, and few beside them."""
    assert max(found()["exact"]["hops"]) <= 5
    assert max(found()["exact"]["requests"]) <= 30
