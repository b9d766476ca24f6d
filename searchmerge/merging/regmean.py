"""RegMean: the linear layer whose outputs are closest to those of every model on its own data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from searchmerge.merging import knobs
from searchmerge.merging.linear import LINEAR
from searchmerge.merging.method import Knob, Method, Slab, Values

_RIDGE = 1e-8
"""Share of the mean square input that is added to every square: of a dead input the plain mean is taken."""


def _merge(slab: Slab, values: Values) -> None:
    """Write ``W`` with ``S W = sum_i w_i G̃_i W_i``, ``S = sum_i w_i G̃_i`` (Jin et al. 2023, equation 2).

    ``W`` is ``[in, out]``, ``G_i`` the inner products of the layer's inputs on the data of model i, and
    ``G̃_i = alpha G_i + (1 - alpha) diag(G_i)`` (section 3.3). What is no linear layer's weight is averaged
    by the weights. With a base the same is written as ``base + S^-1 sum_i w_i G̃_i tau_i``.

    Where nothing is searched that this depends on, one system is solved. Where alpha is searched, ``S`` is
    decomposed once and a candidate costs one product of matrices; where the models change (populations), the
    shares ``S^-1 w_i G̃_i`` are computed once and a candidate costs one product a model.

    Raises:
        ValueError: the weights add up to zero, or a system is not positive definite.
    """
    if slab.known().gram(0) is None:
        LINEAR.merge(slab, {"weight": values["weight"]})
        return
    shares = knobs.shares(knobs.per_expert(values, "weight", slab.deltas.shape[0]))
    merged = _way(slab)(slab, shares, knobs.number(values, "alpha"))
    out = slab.out.view(merged.shape if slab.known().input_first else merged.T.shape)
    out.copy_(merged if slab.known().input_first else merged.T)
    if slab.base is not None:
        slab.out.add_(slab.base)


def _way(slab: Slab) -> Callable[[Slab, Sequence[float], float], Tensor]:
    """By what differs between candidates, which a recipe says: so that a recipe is always solved alike."""
    if not slab.lasting:
        return _by_shares
    return _by_spectrum if slab.searched == {"alpha"} else _solved


def _solved(slab: Slab, weights: Sequence[float], alpha: float) -> Tensor:
    """One system, in float64; gives ``[in, out]``."""
    full, diagonal = _squares(slab, weights)
    right = torch.zeros_like(_columns(slab)[0])
    for square, delta in zip(full, _columns(slab), strict=True):
        right.add_(_reduced(square, alpha) @ delta)
    return torch.cholesky_solve(right, _factor(full, diagonal, alpha)).float()


def _by_shares(slab: Slab, weights: Sequence[float], alpha: float) -> Tensor:
    """``sum_i P_i delta_i`` with ``P_i = S^-1 w_i G̃_i``, which depend on the statistics alone."""
    memo = slab.known().memo
    if memo.get("of") != (weights, alpha):
        full, diagonal = _squares(slab, weights)
        factor = _factor(full, diagonal, alpha)
        memo["shares"] = [torch.cholesky_solve(_reduced(square, alpha), factor).float() for square in full]
        memo["of"] = (weights, alpha)
    columns = _columns(slab, torch.float32)
    merged = torch.zeros_like(columns[0])
    for share, delta in zip(memo["shares"], columns, strict=True):
        merged.add_(share @ delta)
    return merged


def _by_spectrum(slab: Slab, weights: Sequence[float], alpha: float) -> Tensor:
    """With ``D = diag(S)`` and ``D^-1/2 G D^-1/2 = Q L Qᵀ``, ``S(alpha)`` is diagonal in Q at every alpha."""
    if slab.memo.get("of") != weights:  # fixed in a search, but another may have had others
        slab.memo["spectrum"], slab.memo["of"] = _spectrum(slab, weights), weights
    back, values, by_full, by_diagonal = slab.memo["spectrum"]
    # Float64 up to here: at alpha 1 directions without inputs are divided by almost nothing.
    right = torch.lerp(by_diagonal, by_full, alpha).div_((alpha * values + (1 - alpha))[:, None])
    return torch.mm(back, right.float())


def _spectrum(slab: Slab, weights: Sequence[float]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    full, diagonal = _squares(slab, weights)
    roots = diagonal.sqrt()[:, None]
    values, vectors = torch.linalg.eigh(torch.stack(full).sum(0) / roots / roots.T)
    back = vectors / roots
    columns = _columns(slab)
    by_full, by_diagonal = torch.zeros_like(columns[0]), torch.zeros_like(columns[0])
    for square, delta in zip(full, columns, strict=True):
        by_full.add_(square @ delta)
        by_diagonal.add_(square.diagonal()[:, None] * delta)
    return back.float(), values, back.T @ by_full, back.T @ by_diagonal


def _squares(slab: Slab, weights: Sequence[float]) -> tuple[list[Tensor], Tensor]:
    """Each model's ``w_i (G_i + ridge)``, float64 ``[in, in]``, and the diagonal of their sum."""
    known = slab.known()
    full = []
    for model in range(len(weights)):
        gram = known.gram(model)
        assert gram is not None
        full.append(gram.double())
    mean = torch.stack([square.diagonal().mean() for square in full]).mean()
    ridge = _RIDGE * mean if mean > 0 else torch.ones_like(mean)
    for square, weight in zip(full, weights, strict=True):
        square.diagonal().add_(ridge)
        square.mul_(weight)
    return full, torch.stack([square.diagonal() for square in full]).sum(0)


def _reduced(square: Tensor, alpha: float) -> Tensor:
    """``alpha G + (1 - alpha) diag(G)``."""
    return alpha * square + (1 - alpha) * square.diagonal().diag()


def _factor(full: Sequence[Tensor], diagonal: Tensor, alpha: float) -> Tensor:
    together = alpha * torch.stack(list(full)).sum(0)
    together.diagonal().add_((1 - alpha) * diagonal)
    factor: Tensor
    factor, failed_at = torch.linalg.cholesky_ex(together)
    if failed_at:
        raise ValueError(
            f"RegMean's system is not positive definite at alpha {alpha:g}: too few inputs, or products "
            "rounded too much; take a smaller alpha, more texts or statistics.precision: float32"
        )
    return factor


def _columns(slab: Slab, dtype: torch.dtype = torch.float64) -> Sequence[Tensor]:
    """The deltas as ``[in, out]``."""
    gram = slab.known().gram(0)
    assert gram is not None
    wide = gram.shape[0]
    rows = slab.deltas.to(dtype)
    if slab.known().input_first:
        return list(rows.view(len(rows), wide, -1))
    return [row.view(-1, wide).T for row in rows]


REGMEAN = Method(
    name="regmean",
    summary="(Σ wᵢG̃ᵢ)⁻¹ Σ wᵢG̃ᵢWᵢ, Gᵢ of inputs, off-diagonals times α (Jin et al. 2023, arXiv:2212.09849)",
    knobs=(knobs.IMPORTANCE, Knob("alpha", knobs.constant(0.9), 0.0, 1.0, per_expert=False)),
    merge=_merge,
    scope="tensor",
    needs_base=False,
    statistics="gram",
    prepares=frozenset({"alpha", "weight"}),
)
