"""Metrics: what they range over, which direction is better, and what a part of the examples says of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from searchmerge.objective.metrics import label_sets, labels, numbers, ratios
from searchmerge.objective.metrics.metric import Array, Counts, Metric, Seen, Values

__all__ = ["METRICS", "Array", "Counts", "Metric", "Seen", "Values"]


def _named(*metrics: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


METRICS: Mapping[str, Mapping[str, Metric]] = MappingProxyType(
    {
        "single-label": _named(labels.ACCURACY, labels.F1, labels.MACRO_F1, labels.MATTHEWS),
        "multi-label": _named(label_sets.MICRO_F1, label_sets.MACRO_F1, label_sets.ACCURACY),
        "regression": _named(numbers.PEARSON, numbers.SPEARMAN, numbers.PEARSON_SPEARMAN),
        "token-classification": _named(ratios.ACCURACY, ratios.ENTITY_F1),
        "language-modeling": _named(ratios.LOSS, ratios.PERPLEXITY),
        "multiple-choice": _named(labels.ACCURACY),
        "generation": _named(ratios.EXACT_MATCH, ratios.NUMERIC, ratios.ROUGE_L),
        "python": _named(ratios.MEAN),
    }
)
"""Every metric by the kind of task and its name in the config, a kind's default first."""
