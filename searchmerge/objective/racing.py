"""Races: a test on the examples seen so far says that a candidate does worse than an earlier one.

Both tests look at the differences that the candidate makes example by example, each weighted as it enters the
score, so the score has to be a mean over examples. They are asked after every batch but the last, when the
score itself is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import exp
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import logsumexp

from searchmerge import config
from searchmerge.config.tasks import TextClassification
from searchmerge.objective.asking import Round
from searchmerge.objective.metrics import METRICS, Metric, Seen, Values
from searchmerge.types import Race, UserError

BETS = np.arange(1, 21) / 21
"""What the bound's gamblers stake, as parts of all that they could lose."""

_ROUNDING = 1e-9

_FEW = 13
"""Differences of which SciPy looks at every choice of signs, where some are equal or zero."""


@dataclass(frozen=True)
class Standing:
    """How a race stands.

    Args:
        candidate: the values of its answers to the examples that it has seen, in that order.
        rival: those of the rival's answers to all examples.
        seen: which examples those are.
        handicap: by how much the candidate's mean value has to be above the rival's for the same score.
        most: a bound of the difference at any one example.
    """

    candidate: Values
    rival: Values
    seen: npt.NDArray[np.int64]
    handicap: float
    most: float

    @property
    def differences(self) -> Values:
        """Candidate minus rival, in the order seen."""
        return self.candidate - self.rival[self.seen]


def wilcoxon(standing: Standing) -> float:
    """The p-value of the Wilcoxon signed-rank test as Optuna's ``WilcoxonPruner`` has it.

    It is 1, which stops nobody, where there are fewer than two differences, and where the candidate's mean
    so far is as good as the rival's over all examples. The test is meant for one look: of many looks, more
    than ``level`` may stop somebody who is as good. Zeros are split, half of their ranks to each side.

    F. Wilcoxon: Individual Comparisons by Ranking Methods. Biometrics Bulletin 1(6), 1945.
    """
    as_good = standing.rival.mean() + standing.handicap <= standing.candidate.mean()
    if len(standing.seen) < 2 or as_good:
        return 1.0
    x = standing.differences
    if len(x) <= _FEW:
        return _signed_ranks(x)
    return float(stats.wilcoxon(x, alternative="less", zero_method="zsplit").pvalue)


def _signed_ranks(x: Values) -> float:
    """The exact p-value: of all ways to choose the signs, those with no larger sum of positive ranks.

    It is what SciPy finds by going through all of them, which takes it seconds.
    """
    doubled = np.rint(2 * stats.rankdata(np.abs(x))).astype(np.int64)  # whole numbers, with ties too
    ways = np.ones(1)
    for rank in doubled[x != 0]:
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    return float(ways[: doubled[x > 0].sum() + 1].sum() / ways.sum())


def bound(standing: Standing) -> float:
    """A p-value of "the candidate's score is at least the rival's", whenever one looks and how often.

    It is below ``level`` exactly where a confidence sequence of that level for the mean difference lies below
    the handicap: that of I. Waudby-Smith, A. Ramdas: Estimating Means of Bounded Random Variables by Betting.
    J. Royal Statistical Society B 86(1), 2024, for sampling without replacement. If the mean difference of
    all N examples is m, then the i-th is expected to be ``m_i = (N m − sum of those before) / (N − i + 1)``.
    A gambler who bets on less, with a part f of what there is to lose, multiplies the capital by
    ``1 − f (x_i − m_i) / (most − m_i)``. Where the mean is m or more, that is expected to gain nothing; nor
    do several gamblers of a fixed part each. So by Ville's inequality their capital, m being the handicap,
    ever comes to ``1 / level`` with a probability of at most ``level``.

    That holds where the examples come in a random order. Racing inside a generation is V. Heidrich-Meisner's
    and C. Igel's (Hoeffding and Bernstein Races for Selecting Policies in Evolutionary Direct Policy Search.
    ICML 2009). Their bounds tell next to nothing on a few hundred examples, even as sharpened for sampling
    without replacement (R. Bardenet, O.-A. Maillard: Concentration Inequalities for Sampling Without
    Replacement. Bernoulli 21(3), 2015): the tests compare.
    """
    x, examples, m = standing.differences, len(standing.rival), standing.handicap
    sums = np.cumsum(np.concatenate([[0.0], x]))
    left = examples - np.arange(len(x) + 1)
    expected = (examples * m - sums) / left  # the last one is that of the example to come
    slack = _ROUNDING * max(1.0, abs(standing.most))
    if expected[-1] > standing.most + slack:
        return 0.0  # no answers to what is left could make up for it
    room = standing.most - expected[:-1]
    stakes = np.divide(x - expected[:-1], room, out=np.zeros(len(x)), where=room > slack)
    gained = np.log1p(-BETS[:, None] * np.minimum(stakes, 1.0)).sum(axis=1)
    return min(1.0, exp(min(0.0, np.log(len(BETS)) - float(logsumexp(gained)))))


TESTS: Mapping[str, Callable[[Standing], float]] = MappingProxyType({"wilcoxon": wilcoxon, "bound": bound})
"""The p-value of each test by its name."""


class Heat:
    """One candidate's race.

    Args:
        race: as asked for.
        rival: the values of the rival's answers to all examples, ``[examples]``.
        best: those of right answers.
        handicap: as of :class:`Standing`.

    Attributes:
        over: whether the candidate has lost.
    """

    def __init__(self, race: Race, rival: Values, best: Values, handicap: float) -> None:
        self._race, self._rival, self._handicap = race, rival, handicap
        self._most = float((best - rival).max())
        self._seen = np.zeros(0, dtype=np.int64)
        self.over = False

    def lost(self, values: Values, seen: Seen) -> bool:
        """Look at how it stands; with all examples seen nobody loses, since the score is there.

        Args:
            values: of the candidate's answers ``[examples]``; those not seen do not count.
            seen: bool ``[examples]``, all that was seen before among them.
        """
        new = np.setdiff1d(np.flatnonzero(seen), self._seen, assume_unique=True)
        self._seen = np.concatenate([self._seen, new])
        if not seen.all():
            standing = Standing(values[self._seen], self._rival, self._seen, self._handicap, self._most)
            self.over = TESTS[self._race.test](standing) < self._race.level
        return self.over


def order(rounds: Sequence[Round], seed: int) -> list[Round]:
    """All rounds in an order that the seed alone decides.

    Those of the same tasks are shuffled, and the tasks take turns, so that of any beginning each task has
    about its share.
    """
    rng = np.random.default_rng(seed)
    placed: list[tuple[float, Round]] = []
    for _, group in groupby(rounds, key=lambda each: [task.name for task in each.tasks]):
        members = list(group)
        turns = (np.arange(len(members)) + 0.5) / len(members)
        placed += [(turn, members[k]) for turn, k in zip(turns, rng.permutation(len(members)), strict=True)]
    return [each for _, each in sorted(placed, key=lambda pair: pair[0])]


def valued(metric: Metric, task: str) -> Callable[..., Values]:
    """The values of single examples that the metric is the mean of.

    Raises:
        UserError: it is no mean.
    """
    if metric.each is None:
        raise UserError(
            expected="metrics that are a mean over the examples, for a strategy that races: accuracy, loss, "
            "exact_match, numeric or rouge_l",
            got=f"{metric.name} in the task {task}",
            cure="take one of these, or leave strategy.racing out",
        )
    return metric.each


def no_mean(got: str) -> UserError:
    """What to say of scores that are no weighted mean of the tasks' metrics."""
    return UserError(
        expected="a score that is a weighted mean of the tasks, for a strategy that races: aggregate: mean, "
        "or relative of metrics that are better when higher",
        got=got,
        cure="take one of these, or leave strategy.racing out",
    )


def raceable(section: config.Objective) -> None:
    """Make sure, by the config alone, that candidates can race in an objective.

    Raises:
        UserError: its score is no mean over examples.
    """
    if section.aggregate not in ("mean", "relative"):
        raise no_mean(f"aggregate: {section.aggregate}")
    for task in section.tasks:
        if task.ood:
            continue
        kind = task.problem if isinstance(task, TextClassification) else task.kind
        metric = METRICS[kind][getattr(task, "metric", "mean")]
        valued(metric, task.name)
        if section.aggregate == "relative" and metric.lower:
            raise no_mean(f"aggregate: relative, and {metric.name} in the task {task.name}")
