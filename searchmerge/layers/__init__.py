"""Paths through the layers of several models, on live modules: found, laid and folded into plain ones.

The data-flow space of "Evolutionary Optimization of Model Merging Recipes" (Akiba et al.,
https://arXiv.org/abs/2403.13187, section 3.2): a model is put together from whole layers of several models,
in any order and as often as one likes, the input of each multiplied by a number.
"""

from searchmerge.layers.fold import Rule, folded, folding, plain
from searchmerge.layers.live import Step, lay, shared
from searchmerge.layers.stacks import Stack, stacks_of

__all__ = ["Rule", "Stack", "Step", "folded", "folding", "lay", "plain", "shared", "stacks_of"]
