"""What Evolver costs: a child against the pass that it cannot do without, and memory.

    python -m benchmarks.evolver [--threads 2]

A child of five random RoBERTa models of 125M parameters is timed against `torch.addcmul`, which reads three
individuals and writes one, turn by turn in one process, the median of each. Memory is the peak of a run over
the same five stored in bfloat16 in which children are accepted, forward passes included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.candidate import GIB, peak_memory, take_turns, write_family
from searchmerge.config import Models
from searchmerge.plugins import make_strategy
from searchmerge.sources import Sources
from searchmerge.spaces.population import PopulationSpace
from searchmerge.types import MERGED, Genotype, Recipe, Strategy, default_genotype
from searchmerge.workshop import Workshop

NAMES = ("a", "b", "c", "d", "e")
UNITS = ("parameter", "row", "tensor", "layer")


def main() -> None:
    """Measure, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_family(Path(folder), NAMES, torch.bfloat16)
        figures = {**memory(Path(folder)), **child(Path(folder))}
    for name, value in figures.items():
        print(f"{name:<34} {value:>12.4f}")
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


def child(folder: Path) -> dict[str, float]:
    """Seconds of a child of each unit and storage, and the ratio to the floor."""
    workshop = opened(folder)
    layout = workshop.layout
    a, b, c, out = (torch.randn(layout.size) for _ in range(4))
    work: dict[str, Callable[[], object]] = {"floor": lambda: torch.addcmul(a, b, c, out=out)}
    figures = take_turns(work | {"parameter": children(workshop, "parameter", "float32")})
    result = {"floor_seconds": figures.pop("floor"), "child_seconds": figures["parameter"]}
    result["child_ratio"] = result["child_seconds"] / result["floor_seconds"]
    for unit, storage in [*((unit, "float32") for unit in UNITS[1:]), ("parameter", "bfloat16")]:
        name = unit if storage == "float32" else storage
        seconds = take_turns(work | {name: children(workshop, unit, storage)})
        result[f"child_{name}_ratio"] = seconds[name] / seconds["floor"]
    return result


def children(workshop: Workshop, unit: str, storage: str) -> Callable[[], None]:
    """A new child of the founders at every call."""
    decode, strategy = family_tree(workshop, unit, storage)

    def run() -> None:
        (candidate,) = strategy.ask()
        strategy.tell([0.0])
        PopulationSpace.realise(decode(candidate.genotype), workshop)

    return run


def family_tree(workshop: Workshop, unit: str, storage: str) -> tuple[Callable[[Genotype], Recipe], Strategy]:
    """What decodes genotypes with their past, and a strategy whose founders have been scored."""
    options = {"unit": unit, "storage": storage}
    space = PopulationSpace(options, experts=NAMES, layout=workshop.layout, has_base=True)
    strategy = make_strategy("de", {"floors": False}, dims=space.dims, seed=0, budget=None)
    past: list[Recipe] = [space.decode(default_genotype(space.dims))]

    def decode(genotype: Genotype) -> Recipe:
        past.append(space.decode(genotype, past))
        return past[-1]

    batch = strategy.ask()
    for candidate in batch:
        decode(candidate.genotype)
    strategy.tell([1.0] * len(batch))
    return decode, strategy


def memory(folder: Path) -> dict[str, float]:
    """The peak of a run over individuals in bfloat16 in which every other child is accepted."""
    with peak_memory() as peak:
        workshop = opened(folder)
        decode, strategy = family_tree(workshop, "parameter", "bfloat16")
        tokens = torch.full((2, 16), 5)
        for trial in range(12):
            (candidate,) = strategy.ask()
            models = PopulationSpace.realise(decode(candidate.genotype), workshop)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                models[MERGED](input_ids=tokens)
            strategy.tell([float(trial) if trial % 2 else 0.0])
        model = 2 * workshop.layout.size
        held = sum(row.numel() * row.element_size() for row in workshop.nursery._rows.values())
    return {
        "parameters_millions": workshop.layout.size / 1e6,
        "individuals_gib": held / GIB,
        "peak_memory_gib": peak.bytes / GIB,
        "peak_memory_models": peak.bytes / model,
        "peak_memory_ratio": peak.bytes / (model * (len(NAMES) + 3)),
    }


def opened(folder: Path) -> Workshop:
    """A workshop of the five."""
    models = Models(base=str(folder / "base"), experts={name: str(folder / name) for name in NAMES})
    return Workshop(Sources.open(models, tasks_name_heads=False), [MERGED], torch.device("cpu"))


if __name__ == "__main__":
    main()
