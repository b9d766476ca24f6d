"""The same merge by mergekit and by searchmerge (`reading: mergekit`), every tensor compared.

mergekit is installed into an environment of its own, in the user's cache unless --environment names another.
It merges small random models in float32, a Llama and a RoBERTa (on BERT this version stops with a TypeError).
The largest difference of a case must not exceed 1e-6 of the largest weight; otherwise the exit code is 1.

    python benchmarks/mergekit_parity.py [--environment FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, RobertaConfig, RobertaForSequenceClassification

from searchmerge.config import Models
from searchmerge.sources import Sources
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import MERGED, default_genotype
from searchmerge.workshop import Workshop

MERGEKIT = "mergekit==0.1.5"
ALLOWED = 1e-6
EXPERTS = ("a", "b", "c")

# What mergekit-yaml runs, timed without the imports; the last line that it prints is the seconds.
RUNNER = """
import sys, time, torch, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
config, out, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
parsed = MergeConfiguration.model_validate(yaml.safe_load(open(config)))
start = time.perf_counter()
run_merge(parsed, out, options=MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True))
print(time.perf_counter() - start)
"""

Knobs: TypeAlias = Mapping[str, float | Mapping[str, float]]
"""A knob's name to its value, or to a value an expert."""

WEIGHT = {"a": 0.6, "b": 0.3, "c": 0.7}
DENSITY = {"a": 0.2, "b": 0.55, "c": 0.9}
HALF = {"a": 0.5, "b": 0.55, "c": 0.9}


@dataclass(frozen=True)
class Case:
    """One merge: a method, its knobs, which experts take part and whether the base does."""

    name: str
    method: str
    knobs: Knobs
    experts: Sequence[str] = EXPERTS
    base: bool = True


CASES = (
    Case("linear", "linear", {"weight": WEIGHT}, base=False),
    Case("linear, base given", "linear", {"weight": WEIGHT}),
    Case("task_arithmetic", "task_arithmetic", {"weight": WEIGHT, "lambda": 0.8}),
    Case("ties", "ties", {"weight": WEIGHT, "density": DENSITY, "lambda": 1.2}),
    Case("ties, weights of both signs", "ties", {"weight": {**WEIGHT, "b": -0.4}, "density": DENSITY}),
    # gamma n is a whole number here, and density n at least one: else one entry a tensor may differ.
    Case("breadcrumbs", "breadcrumbs", {"weight": WEIGHT, "density": HALF, "gamma": 1 / 64}),
    Case("breadcrumbs_ties", "breadcrumbs_ties", {"weight": WEIGHT, "density": HALF, "gamma": 1 / 64}),
    Case("della_linear, density 1", "della_linear", {"weight": WEIGHT, "density": 1.0, "epsilon": 0.1}),
    Case("della, density 1", "della", {"weight": WEIGHT, "density": 1.0, "epsilon": 0.1, "lambda": 1.1}),
    Case("model_stock", "model_stock", {}),
    Case("sce", "sce", {"density": 1.0}),
    Case("sce, where they vary most", "sce", {"density": 0.3}),
    Case("slerp", "slerp", {"t": 0.3}, experts=("a", "b"), base=False),
    Case("multislerp", "multislerp", {"weight": WEIGHT}),
    Case("multislerp, no base", "multislerp", {"weight": WEIGHT}, base=False),
)


def main() -> int:
    """Merge every case of both families, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--environment", type=Path, default=cache() / MERGEKIT, help="mergekit's venv")
    python = environment(options.parse_args().environment)
    worst: dict[str, float] = {}
    print(
        f"{'case':<30} {'model':<8} {'tensors':>7} {'largest weight':>15} {'difference':>11} {'relative':>9}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for family, folder in families(Path(scratch)):
            for number, case in enumerate(CASES):
                theirs = by_mergekit(python, case, folder, folder / f"merged-{number}")
                ours = by_searchmerge(case, folder)
                weight, difference = compared(ours, theirs)
                relative = difference / weight
                worst[case.name] = max(worst.get(case.name, 0.0), relative)
                print(
                    f"{case.name:<30} {family:<8} {len(ours):>7} {weight:>15.4f}"
                    f" {difference:>11.1e} {relative:>9.1e}"
                )
    print(json.dumps({"allowed": ALLOWED, "largest_relative_difference": worst}))
    return 0 if max(worst.values()) <= ALLOWED else 1


def environment(folder: Path) -> Path:
    """Give the Python of an environment that holds mergekit and this process's version of torch.

    Made the first time, which downloads them.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (python.parent / "mergekit-yaml").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        torch_version = torch.__version__.partition("+")[0]
        packages = [MERGEKIT, f"torch=={torch_version}"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def families(scratch: Path) -> Iterator[tuple[str, Path]]:
    """Write a base and its experts for each architecture; a folder holds `base` and one a name."""
    decoder = LlamaConfig(
        vocab_size=1500,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    encoder = RobertaConfig(
        vocab_size=1500,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=128,
    )
    # With some seeds two magnitudes are equal at a cutoff of TIES: there we keep both, mergekit one.
    torch.manual_seed(1)
    for family, model in (
        ("llama", LlamaForCausalLM(decoder)),
        ("roberta", RobertaForSequenceClassification(encoder)),
    ):
        _add_noise(model, 0.05, seed=100)
        model.save_pretrained(scratch / family / "base")
        base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for seed, expert in enumerate(EXPERTS):
            model.load_state_dict(base)
            _add_noise(model, 0.01, seed)
            model.save_pretrained(scratch / family / expert)
        yield family, scratch / family


def _add_noise(model: torch.nn.Module, deviation: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=deviation)


def by_mergekit(python: Path, case: Case, folder: Path, out: Path) -> dict[str, Tensor]:
    """Merge with mergekit and read what it wrote."""
    run_mergekit(python, mergekit_config(case, folder), out, torch.get_num_threads())
    merged: dict[str, Tensor] = {}
    for file in out.glob("*.safetensors"):
        merged |= load_file(file)
    return merged


def mergekit_config(case: Case, folder: Path) -> dict[str, Any]:
    """The case in mergekit's words: SLERP's base is its first expert, shared knobs are global parameters."""
    names = {"density": "select_topk"} if case.method == "sce" else {}
    shared = {
        names.get(knob, knob): value for knob, value in case.knobs.items() if not isinstance(value, Mapping)
    }
    own = {knob: value for knob, value in case.knobs.items() if isinstance(value, Mapping)}
    models = [
        {"model": str(folder / name), "parameters": {knob: value[name] for knob, value in own.items()}}
        for name in case.experts
    ]
    base = folder / ("base" if case.base else case.experts[0])
    return {
        "merge_method": case.method,
        "models": models,
        "parameters": shared,
        "dtype": "float32",
        **(
            {"base_model": str(base)}
            if case.method == "slerp" or (case.base and case.method != "linear")
            else {}
        ),
    }


def run_mergekit(python: Path, config: Mapping[str, Any], out: Path, threads: int) -> float:
    """Run a merge in mergekit's environment; give the seconds from its config to the files on disk."""
    out.mkdir(parents=True)
    file = out / "mergekit.json"  # JSON is YAML
    file.write_text(json.dumps(config), "utf-8")
    command = [str(python), "-c", RUNNER, str(file), str(out), str(threads)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=offline, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mergekit failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def by_searchmerge(case: Case, folder: Path) -> dict[str, Tensor]:
    """Merge as a search does: into the live model."""
    models = Models(
        base=str(folder / "base") if case.base else None,
        experts={name: str(folder / name) for name in case.experts},
    )
    workshop = Workshop(Sources.open(models, tasks_name_heads=False), [MERGED], torch.device("cpu"))
    options = {"method": case.method, "reading": "mergekit", **case.knobs}
    space = CoefficientSpace(options, experts=case.experts, layout=workshop.layout, has_base=case.base)
    live = space.realise(space.decode(default_genotype(space.dims)), workshop)[MERGED]
    return {name: parameter.detach() for name, parameter in live.named_parameters()}


def compared(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> tuple[float, float]:
    """Give the largest weight and the largest difference.

    Raises:
        ValueError: the two do not hold the same tensors.
    """
    if ours.keys() != theirs.keys():
        raise ValueError(f"only one of the two merged {sorted(ours.keys() ^ theirs.keys())}")
    largest = max(float(tensor.abs().max()) for tensor in theirs.values())
    return largest, max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def timed_ties(folder: Path, experts: Sequence[str], threads: int) -> float:
    """Seconds that mergekit takes for a TIES merge of the models in ``folder`` with ``base`` among them."""
    weights, densities = dict.fromkeys(experts, 1.0), dict.fromkeys(experts, 0.2)
    case = Case("ties", "ties", {"weight": weights, "density": densities}, experts)
    python = environment(cache() / MERGEKIT)
    with tempfile.TemporaryDirectory() as out:
        return run_mergekit(python, mergekit_config(case, folder), Path(out) / "merged", threads)


def cache() -> Path:
    """The folder of searchmerge in the user's cache."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "searchmerge"


if __name__ == "__main__":
    sys.exit(main())
