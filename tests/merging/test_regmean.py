"""RegMean against the least-squares problem that defines it, and its three ways against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.merging.method import Slab
from searchmerge.merging.regmean import REGMEAN
from tests.merging.making import Known

IN, OUT, TOKENS = 7, 5, 40


@dataclass
class Problem:
    """Layers ``[in, out]`` of some models and the inputs ``[tokens, in]`` of each."""

    inputs: list[Tensor]
    weights: list[Tensor]
    base: Tensor | None = None

    @property
    def known(self) -> Known:
        return Known(grams=[(x.T @ x).float() for x in self.inputs])


def problem(models: int = 3, seed: int = 0, *, base: bool = True) -> Problem:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    mixing = [draw(IN, IN) for _ in range(models)]
    return Problem(
        [draw(TOKENS, IN) @ mix for mix in mixing],
        [draw(IN, OUT) for _ in range(models)],
        draw(IN, OUT) if base else None,
    )


def merged(
    of: Problem,
    alpha: float,
    weight: float | Sequence[float] = 1.0,
    *,
    input_first: bool = False,
    lasting: bool = True,
    searched: frozenset[str] = frozenset(),
    known: Known | None = None,
    memo: dict[str, Any] | None = None,
) -> Tensor:
    """The merged layer, ``[in, out]`` in float64."""
    known = known or of.known
    known.input_first = input_first

    def flat(matrix: Tensor) -> Tensor:
        return (matrix if input_first else matrix.T).flatten().float()

    base = None if of.base is None else flat(of.base)
    deltas = torch.stack([flat(each) - (0 if base is None else base) for each in of.weights])
    out = torch.full((IN * OUT,), torch.nan)
    slab = Slab(
        base=base,
        deltas=deltas,
        out=out,
        cutoff=lambda *_: 0.0,
        keys=[0] * len(deltas),
        memo={} if memo is None else memo,
        lasting=lasting,
        searched=searched,
        statistics=known,
    )
    REGMEAN.merge(slab, {"weight": weight, "alpha": alpha})
    return (out.view(IN, OUT) if input_first else out.view(OUT, IN).T).double()


def defined(of: Problem, alpha: float, weights: Sequence[float]) -> Tensor:
    """The least ``sum_i w_i (alpha |X_i(W - W_i)|^2 + (1 - alpha) |diag(X_i'X_i)^(1/2) (W - W_i)|^2)``."""
    rows, targets = [], []
    for x, layer, weight in zip(of.inputs, of.weights, weights, strict=True):
        scales = (x * x).sum(0).sqrt().diag()
        for part, share in ((x, alpha), (scales, 1 - alpha)):
            rows.append((weight * share) ** 0.5 * part)
            targets.append(rows[-1] @ layer)
    solution, *_ = np.linalg.lstsq(torch.cat(rows).numpy(), torch.cat(targets).numpy(), rcond=None)
    return torch.from_numpy(solution)


WAYS: dict[str, dict[str, Any]] = {
    "solved": {},
    "alpha searched": {"searched": frozenset({"alpha"})},
    "weights searched": {"searched": frozenset({"alpha", "weight"})},
    "models change": {"lasting": False},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("input_first", [False, True], ids=["Linear", "Conv1D"])
@pytest.mark.parametrize("base", [False, True], ids=["no base", "base"])
@given(
    seed=st.integers(0, 1000),
    models=st.integers(1, 4),
    alpha=st.floats(0, 1),
    weights=st.lists(st.floats(0.25, 4), min_size=4, max_size=4),
)
@settings(max_examples=25)
def test_regmean_is_the_least_squares_solution(
    way: str, input_first: bool, base: bool, seed: int, models: int, alpha: float, weights: list[float]
) -> None:
    of = problem(models, seed, base=base)
    exact = defined(of, alpha, weights[:models])
    found = merged(of, alpha, weights[:models], input_first=input_first, **WAYS[way])
    assert torch.allclose(found, exact, rtol=2e-3, atol=2e-3 * float(exact.abs().max()))


def test_alpha_zero_weighs_every_input_by_its_mean_square() -> None:
    of = problem()
    squares = torch.stack([(x * x).sum(0) for x in of.inputs])
    shares = squares / squares.sum(0)
    expected = sum(share[:, None] * layer for share, layer in zip(shares, of.weights, strict=True))
    assert torch.allclose(merged(of, 0.0), torch.as_tensor(expected), atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_equal_grams_give_the_plain_average(way: str, alpha: float) -> None:
    of = problem()
    of.inputs = of.inputs[:1] * 3
    mean = torch.stack(of.weights).mean(0)
    assert torch.allclose(merged(of, alpha, **WAYS[way]), mean, atol=1e-4)


def test_a_transposed_layer_would_be_seen() -> None:
    of = problem()
    square = Problem([x[:, :OUT] for x in of.inputs], [w[:OUT] for w in of.weights])
    known = square.known
    flat = torch.stack([w.flatten().float() for w in square.weights])
    results = []
    for input_first in (False, True):
        known.input_first = input_first
        out = torch.empty(OUT * OUT)
        slab = Slab(None, flat, out, lambda *_: 0.0, [0] * 3, statistics=known)
        REGMEAN.merge(slab, {"weight": 1.0, "alpha": 1.0})
        results.append(out)
    assert not torch.allclose(results[0], results[1], atol=0.1)


def test_of_inputs_that_never_fire_the_plain_average_is_taken() -> None:
    of = problem()
    for x in of.inputs:
        x[:, 2] = 0
    mean = torch.stack([layer[2] for layer in of.weights]).mean(0)
    for way in WAYS.values():
        assert torch.allclose(merged(of, 1.0, **way)[2], mean, atol=1e-3)


def test_what_is_no_linear_layer_is_averaged_by_the_weights() -> None:
    of = problem()
    expected = (of.weights[0] + 3 * of.weights[1]) / 4
    assert torch.allclose(merged(of, 0.9, [1, 3, 0], known=Known(grams=[None] * 3)), expected, atol=1e-6)


@pytest.mark.parametrize("way", ["alpha searched", "models change"])
def test_what_is_remembered_serves_other_candidates(way: str) -> None:
    first, second = problem(seed=1), problem(seed=1)
    known: Known = first.known
    memo: dict[str, Any] = {}
    options = WAYS[way]
    if way == "models change":
        second.weights = [layer + 1 for layer in second.weights]
    merged(first, 0.3, known=known, memo=memo, **options)
    alpha = 0.3 if way == "models change" else 0.8
    again = merged(second, alpha, known=known, memo=None if way == "models change" else memo, **options)
    assert torch.equal(again, merged(second, alpha, known=second.known, **options))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_remembered_is_not_taken_for_other_weights(way: str) -> None:
    of = problem()
    memo: dict[str, Any] = {}
    known = of.known
    for weights in ([1.0, 1.0, 1.0], [0.5, 2.0, 4.0], [1.0, 1.0, 1.0]):
        found = merged(of, 0.6, weights, known=known, memo=memo, **WAYS[way])
        assert torch.equal(found, merged(of, 0.6, weights, **WAYS[way]))


def test_experts_may_be_named_in_any_order() -> None:
    of = problem()
    turned = Problem(of.inputs[::-1], of.weights[::-1], of.base)
    assert torch.allclose(merged(of, 0.7, [1, 2, 3]), merged(turned, 0.7, [3, 2, 1]), atol=1e-5)


@pytest.mark.parametrize("lasting", [True, False], ids=["solved", "by shares"])
def test_products_that_were_rounded_too_much_are_a_failed_candidate(lasting: bool) -> None:
    of = problem()
    grams = [(x.T @ x - 0.9 * (x.T @ x).diagonal().diag()).float() for x in of.inputs]
    with pytest.raises(ValueError, match="not positive definite at alpha 1"):
        merged(of, 1.0, known=Known(grams=grams), lasting=lasting)
    assert merged(of, 0.0, known=Known(grams=grams), lasting=lasting).isfinite().all()


def test_weights_of_zero_are_a_failed_candidate() -> None:
    with pytest.raises(ValueError, match="add up to 0"):
        merged(problem(), 0.9, 0.0)
