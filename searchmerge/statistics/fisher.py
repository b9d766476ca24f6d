"""Diagonal Fisher information: how much a model's answers depend on each of its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from searchmerge.objective.batching import Batch, Track

Squares = dict[str, Tensor]
"""By the parameter's name, in its shape, float32: squared gradients, added up over the examples."""


def fisher(
    model: nn.Module,
    batches: Sequence[Batch],
    gold: Sequence[Tensor] | None = None,
    *,
    track: Track = iter,
) -> Squares:
    """Add up ``(∂ log p(y | x) / ∂θ)²`` over examples x.

    Matena & Raffel (2022), "Merging Models with Fisher-Weighted Averaging", arXiv:2111.09832, equation 3.
    ``y`` is the true label, or the square is averaged over all labels by their probability.

    The gradients of one batch's examples are formed together: in a linear layer an example's is the product
    of its inputs and its outputs' gradients, which one backward pass brings for all of them. A model with
    layers that are called twice, or whose outputs lack the axis of examples, takes its examples one by one.

    Args:
        model: a classifier in evaluation mode; its parameters' ``requires_grad`` is left as found.
        batches: what it is called with, in turn.
        gold: the true labels of each batch, int64 ``[examples]``; None for all labels.
        track: shows how far it has come.
    """
    squares = {name: torch.zeros_like(each, dtype=torch.float32) for name, each in model.named_parameters()}
    together = bool(batches) and _together(model, batches[0])
    add = _add_together if together else _add_one_by_one
    with torch.enable_grad():
        for number, batch in enumerate(track(batches)):
            add(model, batch, None if gold is None else gold[number], squares)
    return squares


def _losses(logits: Tensor, gold: Tensor | None) -> Iterator[Tensor]:
    """What to differentiate, summed over the examples: squares of its gradients make up the information."""
    log = logits.float().log_softmax(-1)
    if gold is not None:
        yield log.gather(-1, gold[:, None]).sum()
        return
    roots = log.detach().exp().sqrt()  # p (∂ log p)² = (∂ √p log p)², √p held fixed
    for label in range(log.shape[-1]):
        yield (roots[:, label] * log[:, label]).sum()


def _add_one_by_one(model: nn.Module, batch: Batch, gold: Tensor | None, squares: Squares) -> None:
    parameters = dict(model.named_parameters())
    with _differentiated(list(parameters.values())):
        for k in range(len(batch["input_ids"])):
            one = {name: column[k : k + 1] for name, column in batch.items()}
            losses = list(_losses(model(**one).logits, None if gold is None else gold[k : k + 1]))
            for loss in losses:
                found = torch.autograd.grad(
                    loss, list(parameters.values()), retain_graph=loss is not losses[-1], allow_unused=True
                )
                for name, gradient in zip(parameters, found, strict=True):
                    if gradient is not None:
                        squares[name].addcmul_(gradient.float(), gradient.float())


@contextmanager
def _differentiated(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    before = [parameter.requires_grad for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, wanted in zip(parameters, before, strict=True):
            parameter.requires_grad_(wanted)


def _add_together(model: nn.Module, batch: Batch, gold: Tensor | None, squares: Squares) -> None:
    handles: list[RemovableHandle] = []
    examples = len(batch["input_ids"])
    for name, module in _owners(model):
        hook = partial(_watch, squares=squares, prefix=f"{name}." if name else "", examples=examples)
        handles.append(module.register_forward_hook(hook))
    try:
        logits = model(**batch).logits
    finally:
        for handle in handles:
            handle.remove()
    losses = list(_losses(logits, gold))
    for loss in losses:
        torch.autograd.backward(loss, retain_graph=loss is not losses[-1])


def _owners(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if module._parameters]


def _together(model: nn.Module, batch: Batch) -> bool:
    """Whether every layer with parameters is called once, with one tensor, and has an axis of examples."""
    names = Counter(id(each) for _, each in model.named_parameters(remove_duplicate=False))
    calls: Counter[str] = Counter()
    fits = all(count == 1 for count in names.values())
    examples = len(batch["input_ids"])

    def look(module: nn.Module, inputs: Any, output: Any, *, name: str) -> None:
        nonlocal fits
        calls[name] += 1
        fits &= not any(True for _ in module.children()) and len(inputs) == 1
        fits &= isinstance(output, Tensor) and output.shape[0] in (
            (1, examples) if isinstance(module, nn.Embedding) else (examples,)
        )

    handles = [module.register_forward_hook(partial(look, name=name)) for name, module in _owners(model)]
    try:
        with torch.inference_mode():
            model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return fits and all(count == 1 for count in calls.values())


def _watch(
    module: nn.Module, inputs: tuple[Tensor], output: Tensor, *, squares: Squares, prefix: str, examples: int
) -> Tensor:
    """Add the squares of a layer's gradients as soon as the gradient of its output is there."""
    given = inputs[0].detach()
    if isinstance(module, nn.Embedding):
        # Nothing below a table of embeddings is differentiated, and positions may be looked up once for all.
        given = given.expand(examples, *given.shape[1:])
        output = output.detach().expand(examples, *output.shape[1:]).clone().requires_grad_()

    def arrived(gradient: Tensor) -> None:
        with torch.no_grad():
            for own, squared in _squared(module, given, gradient.detach().float()):
                squares[prefix + own].add_(squared)

    output.register_hook(arrived)  # type: ignore[no-untyped-call]
    return output


def _squared(module: nn.Module, inputs: Tensor, gradient: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Give a layer's squared gradients, summed over the examples, by the parameter's own name.

    Args:
        module: the layer.
        inputs: ``[examples, …, in]``; numbers of rows for embeddings.
        gradient: of the examples' loss by the layer's output, float32 ``[examples, …, out]``.
    """
    if isinstance(module, nn.Linear | Conv1D):
        yield from _squared_linear(module, inputs.float(), gradient)
    elif isinstance(module, nn.Embedding):
        yield "weight", _squared_rows(module, inputs, gradient)
    else:
        yield from _squared_any(module, inputs, gradient)


def _squared_linear(
    module: nn.Linear | Conv1D, inputs: Tensor, gradient: Tensor
) -> Iterator[tuple[str, Tensor]]:
    left, right = (inputs, gradient) if isinstance(module, Conv1D) else (gradient, inputs)
    if inputs.dim() == 2:  # one input an example: the square of a product is the product of squares
        yield "weight", left.square().T @ right.square()
    else:
        left, right = left.flatten(1, -2), right.flatten(1, -2)
        total = torch.zeros_like(module.weight, dtype=torch.float32)
        product = torch.empty_like(total)
        for one, other in zip(left, right, strict=True):
            torch.mm(one.T, other, out=product)
            total.addcmul_(product, product)
        yield "weight", total
    if module.bias is not None:
        yield (
            "bias",
            gradient.flatten(1, -2).sum(1).square().sum(0)
            if gradient.dim() > 2
            else (gradient.square().sum(0)),
        )


def _squared_rows(module: nn.Embedding, numbers: Tensor, gradient: Tensor) -> Tensor:
    """An example's gradient of a row is the sum over the places where the row was looked up."""
    rows, width = module.weight.shape
    examples = torch.arange(len(numbers), device=numbers.device).view(-1, *[1] * (numbers.dim() - 1))
    places, where = torch.unique((examples * rows + numbers).flatten(), return_inverse=True)
    sums = gradient.new_zeros((len(places), width)).index_add_(0, where, gradient.reshape(-1, width))
    total = gradient.new_zeros((rows, width)).index_add_(0, places % rows, sums.square_())
    if module.padding_idx is not None:
        total[module.padding_idx] = 0  # autograd gives that row none
    return total


def _squared_any(module: nn.Module, inputs: Tensor, gradient: Tensor) -> Iterator[tuple[str, Tensor]]:
    """By differentiating the layer alone, all examples side by side: for norms and whatever else is small."""
    parameters = {name: each.detach() for name, each in module.named_parameters(recurse=False)}

    def one(given: Tensor, arriving: Tensor) -> Any:
        output, back, *_ = vjp(lambda own: functional_call(module, own, (given[None],)), parameters)
        return back(arriving[None].to(output.dtype))[0]

    for name, gradients in vmap(one)(inputs, gradient).items():
        yield name, gradients.float().square().sum(0)
