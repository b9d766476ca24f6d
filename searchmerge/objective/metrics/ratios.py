"""Metrics that are a sum over the examples divided by another: gold and answers are ``[examples, 2]``.

The two columns are what an example adds above and below the line. Gold are those of right answers.
"""

from __future__ import annotations

import math

import numpy as np

from searchmerge.objective.metrics.metric import Array, Counts, Metric, Values, ratio


def _ratio(_: Array, answers: Array, counts: Counts) -> Values:
    sums = counts @ answers.astype(np.float64)
    return ratio(sums[..., 0], sums[..., 1])


def _perplexity(gold: Array, answers: Array, counts: Counts) -> Values:
    with np.errstate(over="ignore"):  # infinity is what it is, and no number that a search can use
        return np.exp(_ratio(gold, answers, counts))


def _each(gold: Array, answers: Array) -> Values:
    """What each example adds, where what stands below the line does not depend on the answers."""
    over, under = answers[:, 0].astype(np.float64), gold[:, 1].astype(np.float64)
    return np.asarray(over * len(gold) / under.sum(), dtype=np.float64)


ACCURACY = Metric("accuracy", 0.0, 1.0, _ratio, each=_each)
"""Words: those right, over all."""

ENTITY_F1 = Metric("entity_f1", 0.0, 1.0, _ratio)
"""Entities: twice those found, over those there plus those answered; as seqeval's micro average."""

LOSS = Metric("loss", 0.0, math.inf, _ratio, lower=True, each=_each)
"""Nats: the sum of the tokens' negative log-likelihoods, over their number."""

PERPLEXITY = Metric("perplexity", 1.0, math.inf, _perplexity, lower=True)
"""The exponential of the loss."""

EXACT_MATCH = Metric("exact_match", 0.0, 1.0, _ratio, each=_each)
NUMERIC = Metric("numeric", 0.0, 1.0, _ratio, each=_each)
ROUGE_L = Metric("rouge_l", 0.0, 1.0, _ratio, each=_each)

MEAN = Metric("mean", -math.inf, math.inf, _ratio, lambda *_: math.inf)
"""Of scores about which nothing is known: there is no bound until all are there."""
