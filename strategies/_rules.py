"""How differential evolution makes a mutant: rules by name, each a weighted sum of members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from searchmerge.strategies._options import one_of
from searchmerge.types import UserError

Terms: TypeAlias = list[tuple[int, float]]
"""Members by their slot, and their coefficients; these add up to one."""


@dataclass(frozen=True)
class Rule:
    """A rule.

    Args:
        donors: how many members it draws at random, none of them the one that is crossed, no two the same.
        leader: who else takes part: ``best``, ``pbest`` (one of the best, drawn at random), or ``donor or
            best``: the first donor, or the best of the others in its place.
        terms: ``(i, leader, donors, f)`` to the mutant of member ``i``.
    """

    donors: int
    leader: Literal["best", "pbest", "donor or best"] | None
    terms: Callable[[int, int, Sequence[int], float], Terms]


def _rand_1(_i: int, _b: int, r: Sequence[int], f: float) -> Terms:
    """Storn & Price 1997 ("Differential evolution", J. Global Optimization 11), eq. 2."""
    return [(r[0], 1), (r[1], f), (r[2], -f)]


def _best_1(_i: int, b: int, r: Sequence[int], f: float) -> Terms:
    """Das & Suganthan 2011 ("Differential evolution: a survey"), eq. 5."""
    return [(b, 1), (r[0], f), (r[1], -f)]


def _current_to_best_1(i: int, b: int, r: Sequence[int], f: float) -> Terms:
    """Das & Suganthan 2011, eq. 6; from ``pbest`` Zhang & Sanderson 2009 ("JADE"), eq. 6, no archive."""
    return [(i, 1), (b, f), (i, -f), (r[0], f), (r[1], -f)]


def _evolver(i: int, _b: int, r: Sequence[int], f: float) -> Terms:
    """Du et al. 2024 ("Knowledge fusion by evolving weights of language models"), as the paper prints it."""
    return [(i, 1), (r[0], f), (r[1], -f)]


def _evolver_code(i: int, b: int, _r: Sequence[int], f: float) -> Terms:
    """The same authors' released code (github.com/duguodong7/model-evolution, ``evolver.py``)."""
    return [(i, 1), (i, -f), (b, f)]


RULES: Mapping[str, Rule] = {
    "rand/1": Rule(3, None, _rand_1),
    "best/1": Rule(2, "best", _best_1),
    "current-to-best/1": Rule(2, "best", _current_to_best_1),
    "current-to-pbest/1": Rule(2, "pbest", _current_to_best_1),
    "evolver": Rule(2, None, _evolver),
    "evolver-code": Rule(1, "donor or best", _evolver_code),
}
"""Every rule by its name; each needs at least one member more than it draws donors."""


def chosen(name: str | None, size: int) -> str:
    """Take a rule that a population is large enough for; None means Evolver's.

    Raises:
        UserError: there is no such rule, or the population is too small for it.
    """
    name = one_of("rule", name or ("evolver" if size > 2 else "evolver-code"), RULES)
    if size <= RULES[name].donors:
        raise UserError(
            expected=f"a population of at least {RULES[name].donors + 1} for the rule {name}",
            got=str(size),
            cure=f"take one of the rules {', '.join(fitting(size)) or 'evolver-code (from 2 on)'}, "
            "or enlarge the population (whole models: with space.variants)",
        )
    return name


def fitting(size: int) -> list[str]:
    """The rules that a population of that size is large enough for."""
    return [name for name, rule in RULES.items() if size > rule.donors]


def mutant(
    name: str,
    i: int,
    scores: Sequence[float],
    f: float,
    rng: np.random.Generator,
    *,
    random_donor: float = 1.0,
    best_share: float = 0.2,
    archived: int = 0,
) -> Terms:
    """Draw who takes part in the mutant of member ``i``, and give it as a sum without repeated members.

    Args:
        name: of the rule.
        i: whom the mutant is crossed with.
        scores: of all members.
        f: weight of a difference.
        rng: draws donors first.
        random_donor: with ``donor or best``, the probability of the donor.
        best_share: with ``pbest``, the share of the members that count as best, at least two.
        archived: slots after the members', of which the donor that is subtracted may be one too (Zhang &
            Sanderson 2009, eq. 7).
    """
    rule = RULES[name]
    others = [k for k in range(len(scores)) if k != i]
    donors = [int(k) for k in rng.choice(others, size=rule.donors, replace=False)]
    if archived and rule.donors > 1:
        pool = [k for k in others if k not in donors[:-1]] + [len(scores) + k for k in range(archived)]
        donors[-1] = int(rng.choice(pool))
    leader = i
    if rule.leader == "best":
        leader = int(np.argmax(scores))
    elif rule.leader == "pbest":
        ranked = np.argsort(-np.asarray(scores), kind="stable")
        leader = int(ranked[rng.integers(max(2, round(best_share * len(scores))))])
    elif rule.leader == "donor or best":
        leader = donors[0] if rng.random() < random_donor else max(others, key=lambda k: scores[k])
    total: dict[int, float] = {}
    for k, coefficient in rule.terms(i, leader, donors, f):
        total[k] = total.get(k, 0.0) + coefficient
    return [(k, coefficient) for k, coefficient in total.items() if coefficient] or [(i, 1.0)]
