"""How soon a race ends: candidates that are as good as their rivals or worse, by test, simulated.

    python -m benchmarks.races [--races 200] [--level 0.1] [--differ 0.2]

A part of the examples is answered otherwise than by the rival, so many more of them wrong that the
candidate's score is lower by what the column says. The examples come in a random order, in batches of 15.
Beside the two tests there are bounds for sampling without replacement (R. Bardenet, O.-A. Maillard:
Concentration Inequalities for Sampling Without Replacement. Bernoulli 21(3), 2015), their level shared out
among the looks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from math import log, sqrt
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from searchmerge.objective.racing import TESTS, Heat
from searchmerge.types import Race

Array = npt.NDArray[np.float64]

BATCH = 15
EXAMPLES = (240, 600)
WORSE = (0.0, 0.02, 0.05, 0.1)
RANGE = 2.0
"""Of a difference: from right where the rival is wrong to wrong where it is right."""


def main() -> None:
    """Simulate, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--races", type=int, default=200)
    options.add_argument("--level", type=float, default=0.1)
    options.add_argument("--differ", type=float, default=0.2)
    arguments = options.parse_args()
    rng = np.random.default_rng(0)
    figures: dict[str, float] = {}
    print("| stopped, read | " + " | ".join(f"worse by {worse:g}" for worse in WORSE) + " |")
    print("|---" * (len(WORSE) + 1) + "|")
    for examples in EXAMPLES:
        for test in (*TESTS, *SERFLING):
            cells = []
            for worse in WORSE:
                lost = round(examples * (arguments.differ + worse) / 2)
                x = differing(examples, lost - round(examples * worse), lost)
                read = np.array([ended(rng, x, test, arguments.level) for _ in range(arguments.races)])
                name = f"{test}_{examples}_{worse:g}"
                figures |= {f"{name}_stopped": (read < 1).mean(), f"{name}_read": read.mean()}
                cells.append(f"{figures[f'{name}_stopped']:.2f}, {figures[f'{name}_read']:.2f}")
            print(f"| {test}, {examples} examples | " + " | ".join(cells) + " |", flush=True)
    print(json.dumps({name: round(float(value), 4) for name, value in figures.items()}))


def differing(examples: int, gained: int, lost: int) -> Array:
    """Differences to a rival: so many right where it is wrong, so many the other way round, else none."""
    found = np.zeros(examples)
    found[:gained], found[gained : gained + lost] = 1.0, -1.0
    return found


def ended(
    rng: np.random.Generator, differences: Array, test: str, level: float, handicap: float = 0.0
) -> float:
    """The part of the examples after which a race in a random order is lost; 1 where it is not."""
    examples, x = len(differences), rng.permutation(differences)
    looks = range(BATCH, examples, BATCH)
    if test in SERFLING:
        width = SERFLING[test]
        lost = (n for n in looks if x[:n].mean() + width(x[:n], examples, level / len(looks)) < handicap)
        return next(lost, examples) / examples
    rival = (x < 0).astype(np.float64)
    heat = Heat(Race(0, test, level, 0), rival, rival + x.max(), handicap)  # type: ignore[arg-type]  # a name of TESTS
    lost = (n for n in looks if heat.lost(rival + x, np.arange(examples) < n))
    return next(lost, examples) / examples


def hoeffding(x: Array, examples: int, level: float) -> float:
    """The width of the Hoeffding-Serfling bound (their corollary 2.5)."""
    return RANGE * sqrt(_left(len(x), examples) * log(1 / level) / (2 * len(x)))


def bernstein(x: Array, examples: int, level: float) -> float:
    """The width of the empirical Bernstein-Serfling bound (their theorem 4.3)."""
    n, logarithm = len(x), log(5 / level)
    spread = float(x.std()) * sqrt(2 * _left(n, examples) * logarithm / n)
    return spread + (7 / 3 + 3 / sqrt(2)) * RANGE * logarithm / n


def _left(n: int, examples: int) -> float:
    """What narrows a bound as there are fewer examples left to see."""
    return 1 - (n - 1) / examples if n <= examples / 2 else (1 - n / examples) * (1 + 1 / n)


SERFLING: Mapping[str, Callable[[Array, int, float], float]] = MappingProxyType(
    {"hoeffding": hoeffding, "bernstein": bernstein}
)


if __name__ == "__main__":
    main()
