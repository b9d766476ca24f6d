"""What statistics cost: Grams against the bare forward pass, Fisher information against forward and backward.

    python -m benchmarks.statistics [--threads 2] [--examples 1000] [--tokens 64]
    python -m benchmarks.statistics --config searchmerge-demo/tasks.yaml

One random RoBERTa of 125M parameters with two labels, on random texts, all in one process. Grams of a forward
pass in float32 with products in float32, in bfloat16 (`precision: auto` of the statistics) and in 8 bits
(`precision: int8`); and all in bfloat16.

With --config instead what the quicker ones differ by from float32, on its experts and texts: the largest
error of an entry of a Gram, relative to the root of the product of its two diagonal entries; of RegMean's
weights the norm of the difference over that of their distance from the base; and RegMean's dev scores, in
float32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import RobertaConfig, RobertaForSequenceClassification

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.objective.batching import BATCH_TOKENS, Batch
from searchmerge.skeleton import as_saved
from searchmerge.statistics.fisher import fisher
from searchmerge.statistics.gram import Products, grams
from searchmerge.statistics.measure import texts_of

QUICKER: tuple[Products, ...] = ("bfloat16", "int8")
ALPHAS = (0.5, 0.9)


def main() -> None:
    """Measure, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--examples", type=int, default=1000)
    options.add_argument("--tokens", type=int, default=64, help="of an example")
    options.add_argument("--config", type=Path, help="say what they differ by, not what they cost")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.config:
        figures = entry_errors(arguments.config) | merge_errors(arguments.config)
    else:
        figures = costs(arguments.examples, arguments.tokens)
    for name, value in figures.items():
        print(f"{name:<34} {value:>12.4f}")
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


def costs(examples: int, tokens: int) -> dict[str, float]:
    """Seconds and ratios for a random model of 125M parameters."""
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(RobertaConfig(num_labels=2)).eval().requires_grad_(False)
    return gram_figures(model, *texts(examples, tokens, 4)) | fisher_figures(
        model, *texts(examples, tokens, 1)
    )


def entry_errors(config: Path) -> dict[str, float]:
    """The largest error of an entry of the experts' Grams, by the type of the products."""
    loaded, device = load(config), torch.device("cpu")
    worst = dict.fromkeys(QUICKER, 0.0)
    for name, checkpoint in Bench(loaded).sources.experts.items():
        section = loaded.statistics
        batches = texts_of(
            checkpoint, section.data[name], section, "gram", device, trust=False
        ).batches.batches
        model = as_saved(checkpoint, device, trust_remote_code=False)
        exact = grams(model, batches).matrices
        for products in QUICKER:
            for weight, matrix in grams(model, batches, products=products).matrices.items():
                scale = exact[weight].diagonal().sqrt().clamp(min=1e-12)
                error = float(((matrix - exact[weight]) / scale[:, None] / scale).abs().max())
                worst[products] = max(worst[products], error)
    return {f"{products}_entry_difference": error for products, error in worst.items()}


def merge_errors(config: Path) -> dict[str, float]:
    """What RegMean's weights by each precision differ by from those by float32, and its dev scores."""
    figures, exact = {}, dict[float, torch.Tensor]()
    with tempfile.TemporaryDirectory() as cache:
        for precision in ("float32", *QUICKER):
            changed = (f"statistics.precision={precision}", f"statistics.cache={cache}")
            bench = Bench(load(config, [*changed, "objective.precision=float32"]))
            for alpha in ALPHAS:
                name = f"regmean_{alpha:g}_{precision}"
                figures[f"{name}_score"] = bench.evaluate(bench.merge(method="regmean", alpha=alpha)).score
                weights = bench.workshop.written.weights.clone()
                if precision == "float32":
                    exact[alpha] = weights
                    continue
                assert bench.workshop.base is not None
                distance = torch.dist(exact[alpha], bench.workshop.base)
                figures[f"{name}_difference"] = float(torch.dist(weights, exact[alpha]) / distance)
    return figures


def texts(examples: int, tokens: int, times: int) -> tuple[list[Batch], list[torch.Tensor]]:
    """Batches of random texts, all of one length, with random labels; ``times`` the usual batch."""
    ids = torch.randint(5, 50000, (examples, tokens))
    size = max(1, times * BATCH_TOKENS["cpu"] // tokens)
    labels = torch.randint(2, (examples,))
    return [{"input_ids": each} for each in torch.split(ids, size)], list(torch.split(labels, size))


def gram_figures(model: nn.Module, batches: Sequence[Batch], _: object) -> dict[str, float]:
    """Seconds of the forward pass and of Grams, and the ratios."""

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                model(**batch)

    figures = {
        "forward_seconds": seconds(forward),
        "gram_seconds": seconds(lambda: grams(model, batches, products="bfloat16")),
        "gram_float32_seconds": seconds(lambda: grams(model, batches)),
        "gram_int8_seconds": seconds(lambda: grams(model, batches, products="int8")),
    }
    with torch.autocast("cpu", torch.bfloat16):
        figures["forward_bfloat16_seconds"] = seconds(forward)
        figures["gram_bfloat16_seconds"] = seconds(lambda: grams(model, batches, products="bfloat16"))
    for name, floor in (
        ("gram", "forward"),
        ("gram_float32", "forward"),
        ("gram_int8", "forward"),
        ("gram_bfloat16", "forward_bfloat16"),
    ):
        figures[f"{name}_ratio"] = figures[f"{name}_seconds"] / figures[f"{floor}_seconds"]
    return figures


def fisher_figures(
    model: nn.Module, batches: Sequence[Batch], gold: Sequence[torch.Tensor]
) -> dict[str, float]:
    """Seconds of forward and backward pass and of Fisher information of the true labels, and the ratio."""

    def backward() -> None:
        model.requires_grad_(True)
        for batch, labels in zip(batches, gold, strict=True):
            model.zero_grad()
            torch.autograd.backward(model(**batch, labels=labels).loss)
        model.requires_grad_(False)
        model.zero_grad()

    figures = {
        "backward_seconds": seconds(backward),
        "fisher_seconds": seconds(lambda: fisher(model, batches, gold)),
    }
    return figures | {"fisher_ratio": figures["fisher_seconds"] / figures["backward_seconds"]}


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
