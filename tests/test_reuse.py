"""Whole searches with and without what candidates have in common: the same journal, fewer layers."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers as hf
import yaml
from torch import Tensor, nn

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.fitness import Fitness
from searchmerge.optimize import run_search
from searchmerge.types import Trial, names
from tests.family import LABELS, nudge, rewrite, tiny_family
from tests.fixtures import SPECIAL, WORDS, tiny_tokenizer
from tests.layers.zoo import randomised
from tests.test_kill import without_times

COEFFICIENTS = {
    "kind": "coefficients",
    "method": "ties",
    "granularity": {"weight": "layer", "density": "block"},
    "weight": [0.0, 1.5],
    "density": [0.1, 1.0],
}
SPACES: dict[str, dict[str, Any]] = {
    "indicators": {"kind": "paths", "sources": ["animals", "colours", "base"], "repeats": 2},
    "aligned": {
        "kind": "paths",
        "encoding": "steps",
        "choose": "aligned",
        "scale": [0.5, 1.5],
        "scales": "jumps",
    },
    "coefficients": COEFFICIENTS,
}


def family(folder: Path, *, heads: bool = True, **objective: Any) -> Path:
    """The tiny family; each task's head is its expert's."""
    config = tiny_family(folder, heads=heads)
    known = yaml.safe_load(config.read_text())["objective"]
    return rewrite(config, objective={**known, **objective}, budget={"evaluations": 30}, baselines=[])


def both(config: Path, out: Path, *changes: str) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """The journals without their times, and the layers run and saved, without and with reuse."""
    journals, counts = [], []
    for gib in (0, 1):
        bench = Bench(load(config, [*changes, f"objective.prefix_gib={gib}"]))
        run_search(bench, out / str(gib), resume=False, watch=lambda *_: None)
        _, *lines = without_times(out / str(gib) / "journal.jsonl")  # the first one has the config
        journals.append(lines)
        counts.append((bench.reuse.prefixes.run, bench.reuse.prefixes.saved))
    return journals, counts


@pytest.mark.parametrize("strategy", ["random", "de", "cmaes"])
@pytest.mark.parametrize("space", SPACES)
def test_a_search_is_the_same_with_reuse(tmp_path: Path, space: str, strategy: str) -> None:
    config = rewrite(family(tmp_path, batch_tokens=30), space=SPACES[space], strategy={"kind": strategy})
    (without, with_it), ((run, none), (fewer, saved)) = both(config, tmp_path / "out")
    assert len(without) >= 30
    assert with_it == without
    assert none == 0
    assert run == fewer + saved
    assert saved > 0 or space == "coefficients"
    assert any('"state":"rejected"' in line for line in without) == (strategy == "de")  # its floors stop some


@pytest.mark.parametrize("options", [{"precision": "bfloat16"}, {"subset": {"rounds": 2, "start": 0.5}}])
def test_precision_and_parts_of_dev_change_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    config = rewrite(family(tmp_path, **options), space=SPACES["indicators"])
    (without, with_it), (_, (_, saved)) = both(config, tmp_path / "out")
    assert with_it == without
    assert saved > 0


@pytest.mark.parametrize("heads", [True, False])
def test_coefficients_of_the_last_layer_save_those_below(tmp_path: Path, heads: bool) -> None:
    config = rewrite(family(tmp_path, heads=heads), space=COEFFICIENTS)
    scores, benches = [], []
    for gib in (0, 1):
        bench = Bench(load(config, [f"objective.prefix_gib={gib}"]))
        fitness, rng = Fitness(bench), np.random.default_rng(0)
        last = ["layer.1" in dim for dim in names(bench.space.dims)]
        points = [
            [x if top else 0.6 for x, top in zip(rng.random(len(last)), last, strict=True)] for _ in range(12)
        ]
        recipes = [bench.space.decode(tuple(point)) for point in points]
        found = [fitness(recipe, -np.inf, 1 + number) for number, recipe in enumerate(recipes)]
        scores.append(
            [(each.score, {n: o.tolist() for n, o in each.outcomes.items()}) for each in found if each]
        )
        benches.append(bench)
    assert scores[0] == scores[1]
    assert len(scores[0]) == 12
    run, saved = benches[1].reuse.prefixes.run, benches[1].reuse.prefixes.saved
    batches = sum(len(task.batches.batches) for task in benches[1].objective("dev").tasks)
    # The first candidate is unknown, the second parts from it; the ten others have one layer less to run.
    assert (run, saved) == ((12 * 2 - 10) * batches, 10 * batches)


def live_bytes() -> int:
    """The memory of all tensors that there are, each storage once."""
    gc.collect()
    storages = {}
    for each in gc.get_objects():
        if type(each) in (Tensor, nn.Parameter):
            storages[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
    return sum(storages.values())


def test_a_long_search_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    limit = 2**20  # of states of 20 KiB a task; 100 evaluations fill it
    config = rewrite(
        family(tmp_path, prefix_gib=limit / 2**30, batch_tokens=256),
        space={"kind": "paths", "encoding": "steps", "length": 5},
        budget={"evaluations": 1000},
    )
    bench, taken = Bench(load(config)), []

    def watch(trial: Trial, _: Trial) -> None:
        if trial.number in (100, 1000 - 1):
            taken.append(live_bytes())

    run_search(bench, tmp_path / "out", resume=False, watch=watch)
    early, late = taken
    assert bench.reuse.prefixes.saved > 1000
    # What is kept at most, less what was kept by then, and a path's few buffers.
    assert late - early < limit / 4


def test_two_tasks_about_the_same_texts(tmp_path: Path) -> None:
    config = family(tmp_path)
    dev = tmp_path / "data" / "animals.dev.jsonl"
    texts = [json.loads(line)["text"] for line in dev.read_text().splitlines()]
    rows = [json.dumps({"text": text, "label": LABELS["colours"][at % 3]}) for at, text in enumerate(texts)]
    (tmp_path / "data" / "colours.dev.jsonl").write_text("\n".join(rows) + "\n")
    config = rewrite(config, space=SPACES["indicators"])
    (without, with_it), (_, (_, saved)) = both(config, tmp_path / "out")
    assert with_it == without
    assert saved > 0


@pytest.mark.parametrize("stack", ["encoder.block", "decoder.block"])
def test_an_encoders_states_know_nothing_of_the_decoder(tmp_path: Path, stack: str) -> None:
    """Where the encoder alone moves, most of it is run; where the decoder does, all of it is saved."""
    config = rewrite(
        written(tmp_path),
        space={"kind": "paths", "sources": ["a", "b"], "stacks": [stack], "encoding": "blocks"},
    )
    (without, with_it), (_, (run, saved)) = both(config, tmp_path / "out")
    assert with_it == without
    assert saved > 0
    if stack == "decoder.block":
        batches = saved // (3 * 28)
        assert (run, saved) == (3 * 2 * batches, 3 * 28 * batches)


def test_coefficients_of_an_encoder_and_a_decoder(tmp_path: Path) -> None:
    (without, with_it), _ = both(rewrite(written(tmp_path), space=COEFFICIENTS), tmp_path / "out")
    assert with_it == without


def written(folder: Path) -> Path:
    """A family of T5s that score texts after a prompt."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 3}
    settings: Any = hf.T5Config(
        vocab_size=len(SPECIAL + WORDS), **sizes, decoder_start_token_id=0, eos_token_id=3, pad_token_id=0
    )
    for number, name in enumerate(("base", "a", "b")):
        model = randomised(hf.T5ForConditionalGeneration(settings), 0)
        if number:
            nudge(model, number)
        model.save_pretrained(folder / name)
        tiny_tokenizer(folder / name)
    rng = np.random.default_rng(0)
    rows = [{key: " ".join(rng.choice(WORDS, 5)) for key in ("text", "prompt")} for _ in range(20)]
    (folder / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    task = {"name": "t", "kind": "language-modeling", "prompt": "prompt", "dev": "dev.jsonl"}
    content = {
        "models": {"base": "base", "experts": {"a": "a", "b": "b"}},
        "space": COEFFICIENTS,
        "strategy": {"kind": "random"},
        "objective": {"tasks": [task], "precision": "float32"},
        "budget": {"evaluations": 30},
        "device": "cpu",
        "threads": 1,
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(content))
    return config
