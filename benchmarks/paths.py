"""Layers that a search of paths runs, where what candidates have in common is kept, against all of them.

    python -m benchmarks.paths [--evaluations 300] [--gib 1] [--only NAME ...]

A 12-layer random BERT classifier and two experts that differ from it by noise. The labels are the answers of
a path near the first expert's own, so that there is something to find. Each search runs with and without
reuse; the journals must be the same but for the seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.optimize import run_search

EXPERTS = ("a", "b")
LAYERS = 12
LABELS = ("red", "green", "blue", "grey")
WORDS = tuple(f"w{number}" for number in range(100))
PATHS: dict[str, Any] = {"kind": "paths", "sources": list(EXPERTS)}
COEFFICIENTS: dict[str, Any] = {
    "kind": "coefficients",
    "method": "task_arithmetic",
    "granularity": "layer",
    "weight": [0.0, 1.0],
}
TEACHERS = {
    "swapped": [("aabaababaaab"[n], n) for n in range(LAYERS)],
    "dropped": [*(("a", n) for n in range(LAYERS) if n not in (4, 9)), ("b", 11)],
}
"""Paths whose answers are labels: the first for aligned steps, the second for the other encodings."""

RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cmaes_indicators": (PATHS, {"kind": "cmaes"}),
    "de_indicators": (PATHS, {"kind": "de"}),
    "cmaes_steps_any": ({**PATHS, "encoding": "steps"}, {"kind": "cmaes"}),
    "de_steps_any": ({**PATHS, "encoding": "steps"}, {"kind": "de"}),
    "cmaes_steps_aligned": ({**PATHS, "encoding": "steps", "choose": "aligned"}, {"kind": "cmaes"}),
    "de_steps_aligned": ({**PATHS, "encoding": "steps", "choose": "aligned"}, {"kind": "de"}),
    "cmaes_blocks": ({**PATHS, "encoding": "blocks"}, {"kind": "cmaes"}),
    "de_blocks": ({**PATHS, "encoding": "blocks"}, {"kind": "de"}),
    "cmaes_indicators_scaled": ({**PATHS, "scale": [0.5, 1.5], "scales": "jumps"}, {"kind": "cmaes"}),
    "cmaes_coefficients": (COEFFICIENTS, {"kind": "cmaes"}),
}
"""A space and a strategy by name; the last shares nothing and shows what it costs to look."""


def main() -> None:
    """Run all searches, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--evaluations", type=int, default=300)
    options.add_argument("--gib", type=float, default=1.0, help="objective.prefix_gib where there is reuse")
    options.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    arguments = options.parse_args()
    figures: dict[str, float] = {}
    print("| search | layers without | with | ratio | seconds without | with | best |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_family(Path(folder))
        for name in arguments.only:
            figures |= measured(Path(folder), name, arguments.evaluations, arguments.gib)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def measured(folder: Path, name: str, evaluations: int, gib: float) -> dict[str, float]:
    """The figures of one search, with and without reuse; prints its row."""
    whole, whole_seconds, journal, best = searched(folder, name, evaluations, 0.0)
    part, seconds, same, _ = searched(folder, name, evaluations, gib)
    if journal != same:
        raise AssertionError(f"{name}: reuse has changed the search")
    ratio = whole / part
    print(
        f"| {name} | {whole} | {part} | {ratio:.2f} | {whole_seconds:.1f} | {seconds:.1f} | {best:.3f} |",
        flush=True,
    )
    return {f"{name}_layers_ratio": ratio}


def searched(folder: Path, name: str, evaluations: int, gib: float) -> tuple[int, float, list[Any], float]:
    """Layers run, seconds, the journal but for its seconds, and the best score."""
    space, strategy = RUNS[name]
    content = {
        "models": {"base": "base", "experts": {expert: expert for expert in EXPERTS}},
        "space": space,
        "strategy": strategy,
        "objective": {
            "tasks": [{"name": "taught", "dev": f"{'swapped' if 'aligned' in name else 'dropped'}.jsonl"}],
            "precision": "float32",
            "prefix_gib": gib,
        },
        "budget": {"evaluations": evaluations},
        "device": "cpu",
        "threads": 1,
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    bench = Bench(load(config))
    bench.objective("dev")
    _ = bench.workshop
    out = folder / f"{name}-{gib}"
    start = time.perf_counter()
    best, _, _ = run_search(bench, out, resume=False, watch=lambda *_: None)
    seconds = time.perf_counter() - start
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()[1:]]
    for line in lines:
        line.pop("seconds")
    return bench.reuse.prefixes.run, seconds, lines, best.score


def write_family(folder: Path, texts: int = 100) -> None:
    """The base, the experts and, answered by the teacher, the texts."""
    config = BertConfig(
        vocab_size=len(WORDS) + 2,
        hidden_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=32,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    made = {"base": _random(BertForSequenceClassification(config), 0, 0.12)}
    for number, name in enumerate(EXPERTS, 1):
        made[name] = _random(BertForSequenceClassification(config), number, 0.06, made["base"])
    rng = np.random.default_rng(0)
    rows = [rng.choice(len(WORDS), 12) for _ in range(texts)]
    logits = {
        name: taught(made, path, torch.from_numpy(np.stack(rows) + 2)) for name, path in TEACHERS.items()
    }
    shift = sum(each.mean(dim=0) for each in logits.values()) / len(logits)
    for name, model in made.items():
        model.classifier.bias.data -= shift  # or nearly all texts would have one label
        _save(model, folder / name)
    for name, answers in logits.items():
        lines = [
            json.dumps({"text": " ".join(WORDS[word] for word in row), "label": LABELS[int(label)]})
            for row, label in zip(rows, (answers - shift).argmax(dim=-1), strict=True)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def taught(made: Mapping[str, Any], path: Sequence[tuple[str, int]], ids: Tensor) -> Tensor:
    """The teacher's logits ``[texts, labels]``."""
    encoder = made["a"].bert.encoder
    own = encoder.layer
    encoder.layer = nn.ModuleList([made[source].bert.encoder.layer[index] for source, index in path])
    with torch.no_grad():
        logits: Tensor = made["a"](input_ids=ids).logits
    encoder.layer = own
    return logits


def _random(model: Any, seed: int, spread: float, base: Any = None) -> Any:
    """The model with random weights, or with the base's and noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, spread, generator=generator)
            if base is not None:
                parameter += base.get_parameter(name)
            elif parameter.dim() == 1 and name.endswith("weight"):
                parameter += 1.0
    return model.eval()


def _save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(("[PAD]", "[UNK]", *WORDS))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
