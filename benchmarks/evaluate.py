"""How fast dev is scored: the demo's plain average, against `Trainer.evaluate` and `pipeline`.

    python -m benchmarks.evaluate searchmerge-demo/tasks.yaml [--threads 2] [--merges 24] [--busy]

All on the same texts in one process, turn by turn, the median of each. Trainer and pipeline compute in
float32 and take texts in the order of the data, Trainer tokenised beforehand (as ours are), in batches of 8,
its default, and of 32.
Then what bfloat16 changes: random merges scored in both precisions.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import transformers
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score
from torch import nn

from searchmerge.bench import Bench
from searchmerge.config import Config, load
from searchmerge.objective import Objective
from searchmerge.objective.data import read
from searchmerge.objective.task import Task
from searchmerge.types import Recipe

ROUNDS = 5
BATCHES = (8, 32)


def main() -> None:
    """Measure, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--merges", type=int, default=24)
    options.add_argument("--busy", action="store_true", help="beside a process that keeps a core busy")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    config = load(arguments.config)
    with busy() if arguments.busy else nullcontext():
        figures = speeds(config)
    figures |= precisions(config, arguments.merges)
    for name, value in figures.items():
        print(f"{name:<34} {value:>12.4f}")
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


@contextmanager
def busy() -> Iterator[None]:
    """Keep a core busy within the block."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def speeds(config: Config) -> dict[str, float]:
    """Examples a second of each way to score dev, and how often ours is faster."""
    bench = Bench(config)
    models = bench.realise(bench.merge(method="linear"))
    ways: dict[str, Callable[[], Mapping[str, float]]] = {
        "ours": lambda: bench.objective("dev")(models).metrics,
        "ours_cores_share_batches": lambda: sharing(bench, models),
        "ours_float32": (lambda objective: lambda: objective(models).metrics)(
            in_precision(config, "float32")
        ),
    }
    texts = {task.name: texts_of(config, task.name) for task in bench.objective("dev").tasks}
    for size in BATCHES:
        ways[f"trainer_{size}"] = trainer(bench, models, texts, size)
    for size in (1, *BATCHES):
        ways[f"pipeline_{size}"] = piped(bench, models, texts, size)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    metrics: dict[str, Mapping[str, float]] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            metrics[name] = way()
            seconds[name].append(time.perf_counter() - start)
    examples = sum(task.examples for task in bench.objective("dev").tasks)
    rate = {name: examples / statistics.median(each) for name, each in seconds.items()}
    figures = {f"{name}_examples_a_second": value for name, value in rate.items()}
    figures["over_shared_batches_ratio"] = rate["ours"] / rate["ours_cores_share_batches"]
    for name in ways:
        if not name.startswith("ours"):
            figures[f"over_{name}_ratio"] = rate["ours"] / rate[name]
            figures[f"float32_over_{name}_ratio"] = rate["ours_float32"] / rate[name]
            figures[f"{name}_metric_difference"] = largest_difference(metrics["ours_float32"], metrics[name])
    return figures


def sharing(bench: Bench, models: Mapping[str, nn.Module]) -> Mapping[str, float]:
    """Ours, all cores at one batch after the other."""
    with patch("searchmerge.objective.asking.lanes_for", lambda _: 1):
        return bench.objective("dev")(models).metrics


def in_precision(config: Config, precision: str) -> Objective:
    """The config's objective on dev in one precision."""
    section = config.objective.model_copy(update={"precision": precision})
    return Bench(config.model_copy(update={"objective": section})).objective("dev")


def texts_of(config: Config, name: str) -> list[str]:
    """The dev texts of a task, as the data have them."""
    task: Any = next(task for task in config.objective.tasks if task.name == name)
    return [columns[task.text] for _, columns in read(task.dev)]


def trainer(
    bench: Bench, models: Mapping[str, nn.Module], texts: Mapping[str, Sequence[str]], size: int
) -> Callable[[], Mapping[str, float]]:
    """What users do: one Trainer a task, its texts tokenised once."""
    tasks: Sequence[Any] = bench.objective("dev").tasks
    sets = {task.name: tokenised(bench, task, texts[task.name]) for task in tasks}
    arguments = transformers.TrainingArguments(
        output_dir=tempfile.gettempdir(),  # it has to be there, and nothing is put into it
        per_device_eval_batch_size=size,
        use_cpu=True,
        disable_tqdm=True,
        report_to=[],
    )

    def evaluate() -> Mapping[str, float]:
        found = {}
        for task in tasks:
            one = transformers.Trainer(
                model=models[task.head],
                args=arguments,
                eval_dataset=sets[task.name],
                data_collator=transformers.DataCollatorWithPadding(bench.tokenizer),
                compute_metrics=lambda given: {
                    "accuracy": accuracy_score(given.label_ids, given.predictions.argmax(-1))
                },
            )
            one.remove_callback(transformers.PrinterCallback)
            found[task.name] = float(one.evaluate()["eval_accuracy"])
        return found

    return evaluate


def tokenised(bench: Bench, task: Task, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Examples as Trainer takes them."""
    section: Any = next(each for each in bench.config.objective.tasks if each.name == task.name)
    ids = bench.tokenizer(list(texts), truncation=True, max_length=section.max_length)["input_ids"]
    return [{"input_ids": each, "labels": int(gold)} for each, gold in zip(ids, task.gold, strict=True)]


def piped(
    bench: Bench, models: Mapping[str, nn.Module], texts: Mapping[str, Sequence[str]], size: int
) -> Callable[[], Mapping[str, float]]:
    """The other thing that users do: one pipeline a task."""
    tasks: Sequence[Any] = bench.objective("dev").tasks
    sections: Mapping[str, Any] = {task.name: task for task in bench.config.objective.tasks}

    def evaluate() -> Mapping[str, float]:
        found = {}
        for task in tasks:
            model: Any = models[task.head]
            pipe = transformers.pipeline("text-classification", model=model, tokenizer=bench.tokenizer)
            cut = {"truncation": True, "max_length": sections[task.name].max_length}
            given = [each["label"] for each in pipe(list(texts[task.name]), batch_size=size, **cut)]
            right = [model.config.id2label[int(gold)] for gold in task.gold]
            found[task.name] = float(accuracy_score(right, given))
        return found

    return evaluate


def precisions(config: Config, merges: int) -> dict[str, float]:
    """What bfloat16 changes of the scores of random merges, and of their order."""
    bench, rng = Bench(config), np.random.default_rng(0)
    judges = {name: in_precision(config, name) for name in ("float32", "bfloat16")}
    scores: dict[str, list[float]] = {name: [] for name in judges}
    changed = []
    for _ in range(merges):
        models = bench.realise(random_merge(bench, rng))
        found = {name: judge(models) for name, judge in judges.items()}
        for name, evaluation in found.items():
            scores[name].append(evaluation.score)
        outcomes = [evaluation.outcomes for evaluation in found.values()]
        changed.append(
            np.concatenate([outcomes[0][name] != outcomes[1][name] for name in outcomes[0]]).mean()
        )
    one, other = (np.array(each) for each in scores.values())
    return {
        "bfloat16_answers_changed": float(np.mean(changed)),
        "bfloat16_score_difference_mean": float(np.abs(one - other).mean()),
        "bfloat16_score_difference_most": float(np.abs(one - other).max()),
        "bfloat16_rank_correlation": float(spearmanr(one, other).statistic),
        "scores_standard_deviation": float(one.std()),
        "bfloat16_best_loses_in_float32": float(one.max() - one[other.argmax()]),
    }


def random_merge(bench: Bench, rng: np.random.Generator) -> Recipe:
    """Task arithmetic with a random coefficient an expert."""
    weight = {name: float(rng.uniform(0.1, 0.8)) for name in bench.sources.experts}
    return bench.merge(method="task_arithmetic", weight=weight)


def largest_difference(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Of two sets of metrics."""
    return max(abs(one[name] - other[name]) for name in one)


if __name__ == "__main__":
    main()
