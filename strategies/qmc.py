"""Evenly spread points, of Optuna."""

from __future__ import annotations

from collections.abc import Sequence

from searchmerge.strategies._options import one_of
from searchmerge.strategies._optuna import Sampled, quiet
from searchmerge.types import Dim

SEQUENCES = ("sobol", "halton")
"""Both are scrambled by the seed."""


class QMC(Sampled):
    """Points of a scrambled low-discrepancy sequence: random search without its gaps and clusters.

    J. Bergstra, Y. Bengio: Random Search for Hyper-Parameter Optimization. JMLR 13, 2012, section 4. The
    default merge comes first, then the sequence; scores change nothing.

    Args:
        dims: the coordinates; one with choices becomes a category.
        seed: of the scrambling.
        budget: not used; a power of two, and one more for the default, is where ``sobol`` is most even.
        sequence: ``sobol`` or ``halton``.

    Raises:
        UserError: no such sequence.
    """

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
        sequence: str = "sobol",
    ) -> None:
        from optuna.samplers import QMCSampler  # here, because the import is slow

        kind = one_of("sequence", sequence, SEQUENCES)
        with quiet():
            sampler = QMCSampler(qmc_type=kind, scramble=True, seed=seed)
        super().__init__(dims, sampler)
