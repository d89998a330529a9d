"""E1: what graphs with a known answer tell."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from carrick.protocols.kademlia.crawler import Graph, percentiles


def star(leaves: int) -> Graph:
    return Graph((leaf, "hub") for leaf in range(leaves))


def complete(nodes: int) -> Graph:
    return Graph(combinations(range(nodes), 2))


def barbell(size: int) -> Graph:
    """Two complete graphs that hang together by one node."""
    left = combinations(range(size), 2)
    right = combinations(range(size, 2 * size), 2)
    bridge = [("bridge", node) for node in range(2 * size)]
    return Graph([*left, *right, *bridge])


def test_a_star_dies_with_its_hub() -> None:
    graph = star(10)
    assert (len(graph), graph.edges) == (11, 10)
    assert graph.names[graph.by_degree()[0]] == "hub"
    assert max(graph.degrees) == max(graph.in_degrees) == 10
    assert graph.components() == [11]
    assert graph.removal_curve() == [11, *[1] * 10, 0]


def test_a_complete_graph_loses_only_who_is_removed() -> None:
    graph = complete(12)
    assert graph.edges == 66
    assert set(graph.degrees) == {11}
    assert graph.removal_curve() == list(range(12, -1, -1))


def test_a_barbell_falls_in_two() -> None:
    graph = barbell(8)
    assert graph.components() == [17]
    curve = graph.removal_curve()
    assert curve[:3] == [17, 8, 8]
    assert curve[-2:] == [1, 0]


def test_parts_that_never_hung_together() -> None:
    graph = Graph([("a", "b"), ("c", "d"), ("d", "e"), ("e", "c")], ["alone", "a"])
    assert graph.components() == [3, 2, 1]
    assert graph.removal_curve() == [3, 2, 2, 2, 1, 1, 0]


def test_edges_that_come_twice_count_once() -> None:
    graph = Graph([("a", "b"), ("b", "a"), ("a", "b"), ("a", "a")])
    assert graph.edges == 1
    assert list(graph.degrees) == [1, 1]
    assert list(graph.out_degrees) == [3, 1]
    assert list(graph.in_degrees) == [2, 2]


def test_an_empty_graph() -> None:
    graph = Graph([])
    assert (len(graph), graph.edges, graph.components()) == (0, 0, [])
    assert graph.removal_curve() == [0]


def test_a_subgraph() -> None:
    graph = barbell(4).subgraph(lambda name: name != "bridge")
    assert graph.components() == [4, 4]
    assert graph.edges == 12


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_what_step_by_step_removal_gives(seed: int) -> None:
    rng = random.Random(seed)
    edges = [(rng.randrange(40), rng.randrange(40)) for _ in range(60)]
    graph = Graph(edges, range(40))
    order = graph.by_degree()
    gone: set[object] = set()
    expected = []
    for removed in range(41):
        rest = graph.subgraph(lambda name: name not in gone)
        expected.append(max(rest.components(), default=0))
        if removed < 40:
            gone.add(graph.names[order[removed]])
    assert graph.removal_curve() == expected


def test_percentiles() -> None:
    assert percentiles(range(1, 101), (0.5, 0.9, 0.99, 1.0)) == [50, 90, 99, 100]
    assert percentiles([7], (0.0, 0.5, 0.99)) == [7, 7, 7]
    assert percentiles([], (0.5,)) == [0.0]
