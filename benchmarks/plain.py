"""Merging and scoring as released research code does: dictionaries of tensors, one tensor after another.

Written from the papers' formulas. A coefficient is looked up by the tensor's name, a list of one an expert.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader

State: TypeAlias = dict[str, Tensor]
Weights: TypeAlias = Mapping[str, Sequence[float]]

BATCH = 16


def linear(experts: Sequence[State], weights: Weights) -> State:
    """The weighted mean (Wortsman et al. 2022)."""
    merged = {}
    for name in experts[0]:
        total = sum(weights[name])
        merged[name] = sum(
            (weight / total * expert[name] for weight, expert in zip(weights[name], experts, strict=True)),
            start=torch.zeros_like(experts[0][name]),
        )
    return merged


def ties(base: State, experts: Sequence[State], weights: Weights, density: float) -> State:
    """Trim to the largest entries of the whole model, elect, mean of the agreeing (Yadav et al. 2023)."""
    vectors = _task_vectors(base, experts)
    cutoffs = []
    for vector in vectors:
        flat = torch.cat([tensor.flatten().abs() for tensor in vector.values()])
        cutoffs.append(flat.kthvalue(len(flat) - int(density * len(flat)) + 1).values)
    merged = {}
    for name in base:
        trimmed = [
            torch.where(vector[name].abs() >= cutoff, vector[name], 0.0)
            for vector, cutoff in zip(vectors, cutoffs, strict=True)
        ]
        merged[name] = base[name] + _elected(torch.stack(trimmed), weights[name])
    return merged


def dare_ties(base: State, experts: Sequence[State], weights: Weights, density: float) -> State:
    """Drop at random, rescale (Yu et al. 2024), then as TIES."""
    vectors = _task_vectors(base, experts)
    merged = {}
    for name in base:
        dropped = [
            vector[name] * torch.bernoulli(torch.full_like(vector[name], density)) / density
            for vector in vectors
        ]
        merged[name] = base[name] + _elected(torch.stack(dropped), weights[name])
    return merged


def child(parent: State, mutant: Sequence[tuple[State, float]], cr: float) -> State:
    """The mutant's parameter with probability ``cr``, else the parent's (Du et al. 2024)."""
    born = {}
    for name, tensor in parent.items():
        mutated = sum(
            (coefficient * state[name] for state, coefficient in mutant), start=torch.zeros_like(tensor)
        )
        born[name] = torch.where(torch.rand_like(tensor) < cr, mutated, tensor)
    return born


def scorer(
    models: Mapping[str, Any], sets: Mapping[str, Sequence[Mapping[str, Any]]], collate: Any
) -> Callable[[State], dict[str, float]]:
    """What puts a merged body under each task's head and gives the accuracies, in float32.

    Args:
        models: a classifier a task, its head in place.
        sets: the examples of each task, tokenised, with ``labels``, in the order of the data.
        collate: pads a batch to its longest text.
    """
    loaders = {
        task: DataLoader(list(sets[task]), batch_size=BATCH, collate_fn=collate)  # type: ignore[arg-type, var-annotated]
        for task in models
    }

    @torch.no_grad()
    def score(body: State) -> dict[str, float]:
        found = {}
        for task, model in models.items():
            model.base_model.load_state_dict(body)
            model.eval()
            right = 0
            for batch in loaders[task]:
                labels = batch.pop("labels")
                right += int((model(**batch).logits.argmax(-1) == labels).sum())
            found[task] = right / len(sets[task])
        return found

    return score


def _task_vectors(base: State, experts: Sequence[State]) -> list[State]:
    return [{name: expert[name] - base[name] for name in base} for expert in experts]


def _elected(rows: Tensor, weights: Sequence[float]) -> Tensor:
    """The weighted entries of the sign that the sum has, over how many they are."""
    sign = torch.where(rows.sum(0) >= 0, 1.0, -1.0)
    agrees = rows * sign > 0
    weighted = rows * torch.tensor(weights).view(-1, *[1] * (rows.dim() - 1))
    return (weighted * agrees).sum(0) / agrees.sum(0).clamp(min=1)
