"""A linear merge of four Llamas against the bandwidth of a copy, and how often the host waits for the GPU.

    python -m benchmarks.gpu [--parameters 1000] [--device cuda] [--texts 512]

The experts are random, saved in bfloat16, of about so many millions of parameters (1000 on a GPU, 20 without
one). A candidate reads base and task vectors, float32, and writes the live weights; the ratio is that of its
bytes a second to those of a copy, read and written. Then an evaluation's forward passes, in bfloat16 where
that is native. A wait is an operation that torch's sync_debug_mode names: none should be in the merge and
the forward passes; when all texts are answered the answers are fetched. Without a GPU there is nothing to
count.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from benchmarks.candidate import EXPERTS, take_turns
from benchmarks.growth import texts
from searchmerge.config import Models
from searchmerge.objective import Objective
from searchmerge.objective.precision import resolve
from searchmerge.sources import Sources
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import MERGED
from searchmerge.workshop import Workshop

WORDS = 1000
LAYERS = 15


def main() -> None:
    """Measure, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--parameters", type=float, help="millions")
    options.add_argument("--texts", type=int, default=512)
    arguments = options.parse_args()
    device = torch.device(arguments.device)
    millions = arguments.parameters or (1000 if device.type == "cuda" else 20)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU: measured on the CPU"
    with tempfile.TemporaryDirectory() as folder:
        write_family(Path(folder), millions)
        figures = measured(Path(folder), device, arguments.texts)
    print(name)
    for key, value in figures.items():
        print(f"{key:<34} {value:>12.4f}")
    print(json.dumps({"device": name, **{key: round(value, 5) for key, value in figures.items()}}))


def write_family(folder: Path, millions: float) -> None:
    """A random base and experts that differ from it by noise, in bfloat16."""
    heads = max(round(32 * (millions / 1000) ** 0.5), 1)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=64 * heads,
        intermediate_size=256 * heads,
        num_hidden_layers=LAYERS,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        pad_token_id=0,
    )
    model = LlamaForSequenceClassification(config).to(torch.bfloat16)
    for number, name in enumerate(("base", *EXPERTS)):
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.empty_like(parameter).uniform_(-1e-3, 1e-3, generator=generator)
                parameter.add_(noise)
        model.save_pretrained(folder / name)


def measured(folder: Path, device: torch.device, count: int) -> dict[str, float]:
    """Seconds, bytes a second and waits."""
    models = Models(base=str(folder / "base"), experts={name: str(folder / name) for name in EXPERTS})
    workshop = Workshop(Sources.open(models, tasks_name_heads=False), [MERGED], device)
    space = CoefficientSpace({"method": "linear", "weight": [0, 1]}, experts=EXPERTS, layout=workshop.layout)
    rng, other = np.random.default_rng(0), torch.zeros_like(workshop.live)
    precision = resolve("auto", device)
    task = texts(count, device)
    objective = Objective([task], precision=precision, device=device)

    def merge() -> None:
        space.realise(space.decode(tuple(rng.random(len(space.dims)).tolist())), workshop)

    def forward() -> None:
        with objective.asking.of(workshop.models, objective.asking.rounds) as coming:
            list(coming)

    work = {
        "copy": lambda: other.copy_(workshop.live),
        "merge": merge,
        "forward": forward,
        "evaluation": lambda: objective(workshop.models),
    }
    seconds = take_turns({name: finished(each, device) for name, each in work.items()})
    size, copies = 4 * workshop.layout.size, len(EXPERTS) + 2
    rates = {"copy": 2 * size / seconds["copy"], "merge": copies * size / seconds["merge"]}
    figures = {"parameters_millions": workshop.layout.size / 1e6, "resident_gib": copies * size / 2**30}
    figures |= {f"{name}_seconds": value for name, value in seconds.items()}
    figures |= {f"{name}_gigabytes_a_second": rate / 1e9 for name, rate in rates.items()}
    figures["merge_bandwidth_ratio"] = rates["merge"] / rates["copy"]
    if device.type == "cuda":
        figures |= {f"{name}_waits": waits(each) for name, each in work.items() if name != "copy"}
    return figures


def finished(work: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """The work, waited for."""

    def run() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def waits(work: Callable[[], object]) -> int:
    """How often the host waits for the GPU within the work."""
    with warnings.catch_warnings(record=True) as seen, warned_of_waits():
        warnings.simplefilter("always")
        work()
    return sum("synchroniz" in str(each.message) for each in seen)


@contextmanager
def warned_of_waits() -> Iterator[None]:
    """Within the block, torch warns at each operation that waits."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


if __name__ == "__main__":
    main()
