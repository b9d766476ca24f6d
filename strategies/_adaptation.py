"""Where differential evolution takes F, Cr and the rule from: fixed, drawn, or learned from successes.

Every class is built from the same arguments and has the same three methods. F and Cr are learned from
children that scored better than their parents; what worse ones scored is never looked at, so that they may be
stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

_Reals: TypeAlias = npt.NDArray[np.float64]


class Settings(NamedTuple):
    """What a child is made with."""

    rule: str
    f: float
    cr: float


class Adaptation(Protocol):
    """The parameter control of differential evolution."""

    def draw(self, i: int) -> Settings:
        """Settings of the next child of member ``i``."""

    def learn(self, i: int, settings: Settings, gain: float) -> None:
        """Take by how much a child of member ``i`` beat its parent, 0 where it did not."""

    def turn(self) -> None:
        """As many children as there are members have been learned from."""

    def leave(self, i: int) -> None:
        """Member ``i`` has left; those after it move up by one."""


class Fixed:
    """The user's settings for every child.

    Args:
        start: the user's settings.
        rules: names of the rules that the population is large enough for.
        size: number of members.
        rng: for what is drawn.
    """

    def __init__(self, start: Settings, rules: Sequence[str], size: int, rng: np.random.Generator) -> None:
        self._start, self._rules, self._size, self._rng = start, rules, size, rng

    def draw(self, i: int) -> Settings:
        """Give the user's settings."""
        return self._start

    def learn(self, i: int, settings: Settings, gain: float) -> None:
        """Learn nothing."""

    def turn(self) -> None:
        """Do nothing."""

    def leave(self, i: int) -> None:
        """Do nothing."""


class Dither(Fixed):
    """F drawn evenly between the user's and 1 (Das, Konar, Chakraborty 2005, whose own is from 0.5 to 1)."""

    def draw(self, i: int) -> Settings:
        """Draw F."""
        rule, f, cr = self._start
        return Settings(rule, f + (1 - f) * self._rng.random(), cr)


class JDE(Fixed):
    """Each member has F and Cr of its own, which its child inherits or, one time in ten, draws anew.

    Brest et al. 2006 ("Self-adapting control parameters in differential evolution"), eq. 5 and 6.
    """

    def __init__(self, start: Settings, rules: Sequence[str], size: int, rng: np.random.Generator) -> None:
        super().__init__(start, rules, size, rng)
        self._own = [start] * size

    def draw(self, i: int) -> Settings:
        """Inherit, or draw F from 0.1 to 1 and Cr from 0 to 1."""
        rule, f, cr = self._own[i]
        u = self._rng.random(4)
        return Settings(rule, 0.1 + 0.9 * u[0] if u[1] < 0.1 else f, float(u[2]) if u[3] < 0.1 else cr)

    def learn(self, i: int, settings: Settings, gain: float) -> None:
        """What was good for the child stays with it."""
        if gain > 0:
            self._own[i] = settings

    def leave(self, i: int) -> None:
        """Forget the member's own."""
        del self._own[i]


class JADE(Fixed):
    """F and Cr drawn around means that move a tenth of the way to those of the last turn's successes.

    Zhang & Sanderson 2009 ("JADE: adaptive differential evolution with optional external archive"), section
    III.
    """

    def __init__(self, start: Settings, rules: Sequence[str], size: int, rng: np.random.Generator) -> None:
        super().__init__(start, rules, size, rng)
        self._f, self._cr = start.f, start.cr
        self._successes: list[Settings] = []

    def draw(self, i: int) -> Settings:
        """Draw F from a Cauchy and Cr from a normal distribution."""
        cr = _normal(self._cr, self._rng)
        return Settings(self._start.rule, _cauchy(self._f, self._rng), cr)

    def learn(self, i: int, settings: Settings, gain: float) -> None:
        """Remember a success."""
        if gain > 0:
            self._successes.append(settings)

    def turn(self) -> None:
        """Move the means: that of Cr to the arithmetic, that of F to the Lehmer mean of the successes."""
        if self._successes:
            f, cr = np.array([(each.f, each.cr) for each in self._successes]).T
            self._cr = 0.9 * self._cr + 0.1 * float(cr.mean())
            self._f = 0.9 * self._f + 0.1 * float((f**2).sum() / f.sum())
            self._successes = []


class SHADE(Fixed):
    """As JADE, around means from a memory of as many turns as members, successes weighted by their gain.

    Tanabe & Fukunaga 2013 ("Success-history based parameter adaptation for differential evolution"), section
    III.
    """

    def __init__(self, start: Settings, rules: Sequence[str], size: int, rng: np.random.Generator) -> None:
        super().__init__(start, rules, size, rng)
        self._memory = [(start.f, start.cr)] * size
        self._next = 0
        self._successes: list[tuple[float, float, float]] = []

    def draw(self, i: int) -> Settings:
        """Draw a place of the memory, then F and Cr around what it holds."""
        f, cr = self._memory[int(self._rng.integers(len(self._memory)))]
        crossover = _normal(cr, self._rng)
        return Settings(self._start.rule, _cauchy(f, self._rng), crossover)

    def learn(self, i: int, settings: Settings, gain: float) -> None:
        """Remember a success and its gain."""
        if gain > 0:
            self._successes.append((settings.f, settings.cr, gain))

    def turn(self) -> None:
        """Overwrite the oldest place of the memory with the weighted means (eq. 7 to 9)."""
        if self._successes:
            f, cr, gain = np.array(self._successes).T
            self._memory[self._next] = self._means(f, cr, gain / gain.sum())
            self._next = (self._next + 1) % len(self._memory)
            self._successes = []

    def _means(self, f: _Reals, cr: _Reals, weight: _Reals) -> tuple[float, float]:
        return _lehmer(f, weight), float((weight * cr).sum())


class LSHADE(SHADE):
    """As SHADE, with six places; Cr by the Lehmer mean too, and 0 for good in a place that once got 0.

    Tanabe & Fukunaga 2014 ("Improving the search performance of SHADE using linear population size
    reduction"), algorithms 1 and 2 and table I.
    """

    PLACES = 6
    ZERO = -1.0
    """Stands for the paper's ⊥ in place of a mean of Cr."""

    def __init__(self, start: Settings, rules: Sequence[str], size: int, rng: np.random.Generator) -> None:
        super().__init__(start, rules, self.PLACES, rng)

    def draw(self, i: int) -> Settings:
        """Draw a place of the memory, then F and Cr around what it holds."""
        f, cr = self._memory[int(self._rng.integers(self.PLACES))]
        crossover = 0.0 if cr == self.ZERO else _normal(cr, self._rng)
        return Settings(self._start.rule, _cauchy(f, self._rng), crossover)

    def _means(self, f: _Reals, cr: _Reals, weight: _Reals) -> tuple[float, float]:
        if self._memory[self._next][1] == self.ZERO or cr.max() == 0:
            return _lehmer(f, weight), self.ZERO
        return _lehmer(f, weight), _lehmer(cr, weight)


class SaDE(Fixed):
    """The rule drawn by how often each one succeeded lately, Cr around the median of its successes.

    Qin, Huang, Suganthan 2009 ("Differential evolution algorithm with strategy adaptation"), section III,
    with two changes: the rules are all that the population is large enough for, and the learning period is 10
    turns, not 50, since budgets are small here.
    """

    PERIOD = 10

    def __init__(self, start: Settings, rules: Sequence[str], size: int, rng: np.random.Generator) -> None:
        super().__init__(start, rules, size, rng)
        self._turns: deque[list[tuple[Settings, bool]]] = deque([[]], maxlen=self.PERIOD + 1)

    def draw(self, i: int) -> Settings:
        """Draw a rule, F from N(0.5, 0.3) and Cr."""
        rule = self._rules[int(self._rng.choice(len(self._rules), p=self._chances()))]
        good = [made.cr for turn in self._turns for made, success in turn if success and made.rule == rule]
        cr = _normal(float(np.median(good)) if good else self._start.cr, self._rng)
        return Settings(rule, float(self._rng.normal(0.5, 0.3)), cr)

    def learn(self, i: int, settings: Settings, gain: float) -> None:
        """Count a success or a failure of the rule."""
        self._turns[-1].append((settings, gain > 0))

    def turn(self) -> None:
        """Forget the oldest turn of the period."""
        self._turns.append([])

    def _chances(self) -> list[float]:
        """Success rates plus 0.01, scaled to add up to one (eq. 14); a rule not yet tried counts as 0.5."""
        rates = []
        for rule in self._rules:
            tried = [success for turn in self._turns for made, success in turn if made.rule == rule]
            rates.append((sum(tried) / len(tried) if tried else 0.5) + 0.01)
        return [rate / sum(rates) for rate in rates]


ADAPTATIONS: Mapping[str, type[Fixed]] = {
    "fixed": Fixed,
    "dither": Dither,
    "jde": JDE,
    "jade": JADE,
    "shade": SHADE,
    "lshade": LSHADE,
    "sade": SaDE,
}


def _lehmer(values: _Reals, weight: _Reals) -> float:
    return float((weight * values**2).sum() / (weight * values).sum())


def _normal(mean: float, rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(mean, 0.1), 0, 1))


def _cauchy(middle: float, rng: np.random.Generator) -> float:
    """Around ``middle`` with scale 0.1, drawn again until it is positive, cut at 1."""
    while (f := middle + 0.1 * float(rng.standard_cauchy())) <= 0:
        pass
    return min(f, 1.0)
