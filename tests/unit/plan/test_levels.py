"""Levels and cycles of random graphs against definitions written out."""

import numpy as np
from hypothesis import given, strategies as st

from daggy.plan.levels import find_cycles, levels

GRAPHS = st.integers(1, 8).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda edge: edge[0] != edge[1])),
        st.lists(st.integers(0, 3), min_size=size, max_size=size),
    )
)


@given(GRAPHS)
def test_levels_and_cycles(graph: tuple[int, set[tuple[int, int]], list[int]]) -> None:
    size, edges, least = graph
    ordered = sorted(edges, key=lambda edge: edge[::-1])
    sources = np.array([source for source, _ in ordered], dtype=np.int64)
    targets = np.array([target for _, target in ordered], dtype=np.int64)
    found = levels(sources, targets, np.array(least, dtype=np.int64)).tolist()
    expected = dict(enumerate(least))
    for _ in range(size + 4):
        for source, target in edges:
            expected[target] = max(expected[target], expected[source] + 1)
    stuck = {vertex for vertex in range(size) if expected[vertex] > 3 + size - 1 or found[vertex] < 0}
    cycles = find_cycles(sources, targets, np.array(found))
    assert bool(cycles) == any(level < 0 for level in found)
    for cycle in cycles:
        assert all(pair in edges for pair in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        assert cycle[0] == min(cycle)
    assert len({vertex for cycle in cycles for vertex in cycle}) == sum(map(len, cycles))
    for vertex in range(size):
        assert found[vertex] == (-1 if vertex in stuck else expected[vertex])
