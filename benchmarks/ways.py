"""The ways to merge and score a candidate that :mod:`benchmarks.peers` puts side by side."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, RobertaConfig
from transformers import RobertaForSequenceClassification as Roberta

from benchmarks import plain
from benchmarks.evaluate import texts_of, tokenised, trainer
from benchmarks.mergekit_server import MergekitServer, by_command
from searchmerge.bench import Bench
from searchmerge.config import Config, Models
from searchmerge.fitness import Fitness
from searchmerge.types import Recipe
from searchmerge.workshop import view

BATCH = 8
"""The default of Trainer."""

Metrics: TypeAlias = Mapping[str, float]
Way: TypeAlias = Callable[[Recipe], tuple[float, Metrics, plain.State]]
"""Merges and scores a recipe: seconds, metrics, the merged body (of ours empty: it is the live one)."""


class Ways:
    """The ways to merge and score a candidate of one family.

    Args:
        config: the experts and the tasks, each with a head of its own.
        scratch: an own folder.
        server: merges with mergekit.
    """

    def __init__(self, config: Config, scratch: Path, server: MergekitServer) -> None:
        if not all(task.head for task in config.objective.tasks):
            raise SystemExit("peers.py takes configs whose tasks each name the expert that has their head")
        self.bench = Bench(config)
        self.experts = tuple(self.bench.sources.experts)
        self._scratch, self._server = scratch, server
        self._folders = {
            name: str(self.bench.sources.experts[head].folder) for name, head in self.bench.heads.items()
        }
        self._bodies = {name: self._body(name) for name in (None, *self.experts)}
        self._models: dict[str, Any] = {
            head: AutoModelForSequenceClassification.from_pretrained(self._folders[task])
            for task, head in self.bench.heads.items()
        }
        texts = {task.name: texts_of(config, task.name) for task in self.bench.objective("dev").tasks}
        self._trainer = trainer(self.bench, self._models, texts, BATCH)
        self._plain = plain.scorer(
            {task: self._models[head] for task, head in self.bench.heads.items()},
            {
                task.name: tokenised(self.bench, task, texts[task.name])
                for task in self.bench.objective("dev").tasks
            },
            transformers.DataCollatorWithPadding(self.bench.tokenizer),
        )

    def _body(self, name: str | None) -> plain.State:
        """A source's merged tensors; also as a folder that mergekit can read."""
        workshop = self.bench.workshop
        row = torch.empty(workshop.layout.size)
        workshop.source(name, row)
        body = {span.name: view(row, span).clone() for span in workshop.layout.spans}
        folder = self._place(name)
        folder.mkdir(parents=True)
        save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((self.bench.sources.experts[self.experts[0]].folder / "config.json").read_text())
        config |= {"model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"]}
        (folder / "config.json").write_text(json.dumps(config))
        return body

    def _place(self, name: str | None) -> Path:
        return self._scratch / "bodies" / (name or "base")

    def of(self, method: str) -> dict[str, Way]:
        """Those that have the method, by name."""
        if method == "evolver":
            return {"searchmerge": self._ours, "plain": self._by_plain}
        return {
            "searchmerge": self._ours,
            "searchmerge_as_mergekit": self._ours,
            "mergekit_command": self._by_command,
            "mergekit_folder": self._by_folder,
            "mergekit_memory": self._by_memory,
            "plain": self._by_plain,
        }

    def _ours(self, recipe: Recipe) -> tuple[float, Metrics, plain.State]:
        start = time.perf_counter()
        evaluation = Fitness(self.bench)(recipe, -inf, 1.0)
        assert evaluation is not None
        return time.perf_counter() - start, evaluation.metrics, {}

    def _by_command(self, recipe: Recipe) -> tuple[float, Metrics, plain.State]:
        server = self._server
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            folder = Path(scratch) / "merged"
            merging = by_command(server.python, self._words(recipe), folder, server.threads)
            return self._from(folder, merging)

    def _by_folder(self, recipe: Recipe) -> tuple[float, Metrics, plain.State]:
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            merging = self._server.merge(self._words(recipe), Path(folder), memory=False)
            return self._from(Path(folder), merging)

    def _from(self, folder: Path, merging: float) -> tuple[float, Metrics, plain.State]:
        """Load and score what was merged into a folder in so many seconds."""
        start = time.perf_counter()
        for task, head in self.bench.heads.items():
            self._models[head] = self._loaded(folder, task)
        found = self._trainer()
        seconds = merging + time.perf_counter() - start
        return seconds, found, load_file(folder / "model.safetensors")

    def _loaded(self, merged: Path, task: str) -> Any:
        """The merged body under the head of a task's own expert."""
        folder = self._folders[task]
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            merged, config=AutoConfig.from_pretrained(folder)
        )
        body = model.base_model_prefix + "."
        own = load_file(Path(folder) / "model.safetensors")
        head = {name: tensor for name, tensor in own.items() if not name.startswith(body)}
        model.load_state_dict(head, strict=False)
        return model

    def _by_memory(self, recipe: Recipe) -> tuple[float, Metrics, plain.State]:
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            merging = self._server.merge(self._words(recipe), Path(folder), memory=True)
            body = load_file(Path(folder) / "model.safetensors")
        for model in self._models.values():
            model.base_model.load_state_dict(body)  # in one process it would be there already
        start = time.perf_counter()
        found = self._trainer()
        return merging + time.perf_counter() - start, found, body

    def _by_plain(self, recipe: Recipe) -> tuple[float, Metrics, plain.State]:
        start = time.perf_counter()
        body = self._merged_plainly(recipe)
        found = self._plain(body)
        return time.perf_counter() - start, found, body

    def _merged_plainly(self, recipe: Recipe) -> plain.State:
        base, experts = self._bodies[None], [self._bodies[name] for name in self.experts]
        if recipe["space"] == "population":
            born = recipe["lineage"][-1]
            mutant = [(self._bodies[name], coefficient) for name, coefficient in born["mutant"]]
            return plain.child(self._bodies[born["parent"]], mutant, born["cr"])
        knobs = recipe["knobs"]
        weights = {
            span.name: [knobs["weight"][name][span.group("layer")] for name in self.experts]
            for span in self.bench.layout.spans
        }
        if recipe["method"] == "linear":
            return plain.linear(experts, weights)
        merge = {"ties": plain.ties, "dare_ties": plain.dare_ties}[recipe["method"]]
        return merge(base, experts, weights, knobs["density"])

    def _words(self, recipe: Recipe) -> dict[str, Any]:
        """The recipe in mergekit's words: a layer's coefficient by a part of its tensors' names."""
        knobs = recipe["knobs"]
        models = []
        for name in self.experts:
            *groups, last = knobs["weight"][name].items()
            filtered = [{"filter": f"{group}.", "value": value} for group, value in groups]
            parameters = {"weight": [*filtered, {"value": last[1]}]}
            parameters |= {"density": knobs["density"]} if "density" in knobs else {}
            models.append({"model": str(self._place(name)), "parameters": parameters})
        base = {} if recipe["method"] == "linear" else {"base_model": str(self._place(None))}
        # Our reading of mergekit's DARE-TIES divides by nothing.
        more = {"parameters": {"normalize": False}} if recipe["method"] == "dare_ties" else {}
        return {"merge_method": recipe["method"], "models": models, "dtype": "float32", **base, **more}


def of_encoders(config: Config, folder: Path) -> Config:
    """The same tasks over random RoBERTas of 125M parameters, each with the head of the config's expert."""
    bench = Bench(config)
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
    shape |= {"pad_token_id": bench.tokenizer.pad_token_id}
    body = Roberta(RobertaConfig(**shape)).roberta.state_dict()
    for name, checkpoint in [("base", None), *bench.sources.experts.items()]:
        labels = dict(checkpoint.label2id or {}) if checkpoint else {"no": 0, "yes": 1}
        names = {number: label for label, number in labels.items()}
        model = Roberta(RobertaConfig(**shape, label2id=labels, id2label=names))
        noise = 1e-3 if checkpoint else 0.0
        model.roberta.load_state_dict(
            {each: tensor + noise * torch.randn_like(tensor) for each, tensor in body.items()}
        )
        model.save_pretrained(folder / name)
        bench.tokenizer.save_pretrained(folder / name)
    experts = {name: str(folder / name) for name in bench.sources.experts}
    return config.model_copy(update={"models": Models(base=str(folder / "base"), experts=experts)})
