from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.merging import find
from tests.merging.making import assert_near, coarse, coarse_slab, doubles, seeds, sizes, slab_of, weights

TASK_ARITHMETIC = find("task_arithmetic", "paper")


@given(st.data(), st.integers(1, 5), sizes, seeds, st.integers(-4, 4))
def test_adds_the_weighted_task_vectors_to_the_base(
    data: st.DataObject, experts: int, size: int, seed: int, scale: int
) -> None:
    weight = data.draw(weights(experts))
    slab = coarse_slab(seed, experts, size)
    TASK_ARITHMETIC.merge(slab, {"weight": weight, "lambda": scale})
    base, deltas = doubles(slab.base), doubles(slab.deltas)
    expected = [base[j] + scale * sum(w * deltas[i, j] for i, w in enumerate(weight)) for j in range(size)]
    assert_near(slab.out, expected)


def test_needs_a_base() -> None:
    with pytest.raises(ValueError, match="needs the base"):
        TASK_ARITHMETIC.merge(slab_of(None, coarse(0, 2, 4)), {"weight": 1.0, "lambda": 1.0})


def test_lambda_is_one_number() -> None:
    with pytest.raises(ValueError, match="one number for all experts, got 2"):
        TASK_ARITHMETIC.merge(coarse_slab(0, 2, 4), {"weight": 1.0, "lambda": [1.0, 1.0]})
