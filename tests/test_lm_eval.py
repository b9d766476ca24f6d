"""lm-eval's tasks as an objective, scored again by a naive loop; where lm-eval is installed."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from searchmerge.bench import Bench
from searchmerge.check import check
from searchmerge.config import load
from searchmerge.journal import read
from searchmerge.optimize import optimize
from searchmerge.types import UserError
from tests.family import nudge
from tests.fixtures import WORDS

SPECIAL = ("<pad>", "<s>", "<unk>")


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """lm-eval, its data sets cached in a folder of the test's."""
    pytest.importorskip("lm_eval")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    from searchmerge import lm_eval

    lm_eval._loaded.cache_clear()


def rows(number: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "question": " ".join(rng.choice(WORDS, rng.integers(2, 7))),
            "choices": [" ".join(rng.choice(WORDS, rng.integers(1, 4))) for _ in range(3)],
            "gold": int(rng.integers(3)),
        }
        for _ in range(number)
    ]


def family(folder: Path, *, splits: Sequence[str] = ("validation", "test"), **options: Any) -> Path:
    """Two tiny decoders beside their base, a task of lm-eval with local data, and a config; gives that."""
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<s>", bos_token="<s>", unk_token="<unk>"
    )
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    for seed, name in enumerate(("base", "a", "b")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = LlamaForCausalLM(config)
        nudge(model, 7)
        nudge(model, seed)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    task = {
        "task": "tiny_choice",
        "dataset_path": "json",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "dataset_kwargs": {"data_files": {split: str(folder / f"{split}.jsonl") for split in splits}},
        "metric_list": [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
        ],
        **{f"{split}_split": split for split in splits},
        **options.pop("task", {}),
    }
    for seed, split in enumerate(splits):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows(20, seed))))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(task))
    settings = {"tasks": [str(folder / "tiny.yaml")], **options}
    content = {
        "models": {"base": "base", "experts": {"a": "a", "b": "b"}},
        "space": {"kind": "coefficients", "method": "task_arithmetic", "weight": [0.0, 1.0]},
        "strategy": {"kind": "random"},
        "objective": {
            "tasks": [
                {
                    "name": "choice",
                    "kind": "python",
                    "function": "searchmerge.lm_eval:score",
                    "options": {key: value for key, value in settings.items() if value is not None},
                }
            ],
            "precision": "float32",
        },
        "budget": {"evaluations": 4},
        "baselines": ["average"],
        "device": "cpu",
        "threads": 1,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def loglikelihood(model: Any, tokenizer: Any, prompt: str, text: str) -> float:
    """Token by token, each from what stands before it."""
    ids = tokenizer(f"{prompt} {text}", add_special_tokens=False)["input_ids"]
    found = 0.0
    for place in range(len(prompt.split()), len(ids)):
        with torch.inference_mode():
            logits = model(torch.tensor([ids[:place]])).logits[0, -1].double()
        found += float(logits[ids[place]] - torch.logsumexp(logits, 0))
    return found


def memory(model: Any) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}


def naive(
    model: Any, tokenizer: Any, documents: Sequence[Mapping[str, Any]], *, norm: bool = False
) -> list[float]:
    right = []
    for each in documents:
        scores = [
            loglikelihood(model, tokenizer, each["question"], choice) / (len(choice) if norm else 1)
            for choice in each["choices"]
        ]
        right.append(float(int(np.argmax(scores)) == each["gold"]))
    return right


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize("metric", ["acc", "acc_norm", "acc,none", None])
def test_each_document_is_scored_as_a_naive_loop_does(tmp_path: Path, metric: str | None) -> None:
    bench = Bench(load(family(tmp_path, split="validation", metric=metric)))
    for weight in (0.2, 0.9):
        recipe = bench.merge(method="task_arithmetic", weight=weight)
        places = memory(bench.realise(recipe)["merged"])
        one, again = bench.evaluate(recipe), bench.evaluate(recipe)
        assert memory(bench.workshop.models["merged"]) == places, "what is live stays where it is"
        model = bench.workshop.models["merged"]
        expected = naive(model, bench.tokenizer, rows(20, 0), norm=metric == "acc_norm")
        assert one.outcomes["choice"].tolist() == [[score, 1.0] for score in expected]
        assert np.array_equal(one.outcomes["choice"], again.outcomes["choice"])
        assert one.score == pytest.approx(sum(expected) / 20)


@pytest.mark.usefixtures("harness")
def test_a_run_chooses_by_the_validation_split(tmp_path: Path) -> None:
    config = load(family(tmp_path, split="validation", limit=10))
    result = optimize(config, tmp_path / "out", resume=False, watch=lambda *_: None, say=lambda _: None)
    _, trials = read(tmp_path / "out/journal.jsonl")
    assert result["failures"] == 0
    assert result["best"]["test"] is None
    assert [trial.evaluation.outcomes["choice"].shape for trial in trials if trial.evaluation] == [
        (10, 2)
    ] * 4
    assert result["best"]["dev"]["low"] < result["best"]["dev"]["high"], "documents make an interval"
    again = optimize(config, tmp_path / "out", resume=True, watch=lambda *_: None, say=lambda _: None)
    assert again["best"] == result["best"]
    model = LlamaForCausalLM.from_pretrained(tmp_path / "out/model").eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "out/model")
    assert result["best"]["dev"]["score"] == pytest.approx(
        sum(naive(model, tokenizer, rows(20, 0)[:10])) / 10
    )


@pytest.mark.usefixtures("harness")
def test_a_metric_that_is_no_mean_is_one_score(tmp_path: Path) -> None:
    options = {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
        "metric_list": [{"metric": "word_perplexity"}],
    }
    bench = Bench(load(family(tmp_path, splits=["validation"], task={**options, "doc_to_choice": None})))
    found = bench.evaluate(bench.alone("a"))
    model, total, words = bench.workshop.models["merged"], 0.0, 0
    for each in rows(20, 0):
        total += loglikelihood(model, bench.tokenizer, "<s>", each["question"])
        words += len(each["question"].split())
    assert found.outcomes["choice"].shape == (1, 2)
    assert found.score == pytest.approx(-math.exp(-total / words), rel=1e-4), "lower is better: with a minus"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "the test split, as lm-eval takes it": ({}, "which lm-eval evaluates where there is one"),
    "the test split, asked for": ({"split": "test"}, "which lm-eval evaluates"),
    "only a test split": ({"splits": ["test"]}, "which lm-eval evaluates"),
    "no validation split": ({"splits": ["test"], "split": "validation"}, "expected: a split .*: test\n"),
    "worked examples of the test split": (
        {"split": "validation", "num_fewshot": 2, "task": {"fewshot_split": "test"}},
        "by its worked examples",
    ),
    "no such metric": ({"split": "validation", "metric": "f1"}, "one of the metrics acc, acc_norm"),
    "no such task": ({"tasks": ["no_such_task_anywhere"]}, "the tasks no_such_task_anywhere of lm-eval"),
    "no such option": ({"splits": ["validation"], "shots": 3}, "options that .* takes"),
}


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize("why", REFUSED)
def test_refused_before_the_search(tmp_path: Path, why: str) -> None:
    options, message = REFUSED[why]
    config = load(family(tmp_path, **options))
    with pytest.raises(UserError, match=message):
        list(check(Bench(config)))
    with pytest.raises(UserError, match=message):
        optimize(config, tmp_path / "out", resume=False, watch=lambda *_: None, say=lambda _: None)
    assert not (tmp_path / "out/journal.jsonl").exists()


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_the_objectives(tmp_path: Path, precision: str) -> None:
    path = family(tmp_path, split="validation", limit=3)
    bench = Bench(load(path, [f"objective.precision={precision}"]))
    seen: set[str] = set()
    layer: Any = bench.workshop.models["merged"]
    layer.model.layers[0].mlp.up_proj.register_forward_hook(lambda *given: seen.add(str(given[2].dtype)))
    bench.evaluate(bench.alone("a"))
    assert seen == {f"torch.{precision}"}


@pytest.mark.usefixtures("harness")
def test_each_number_of_worked_examples_is_a_task_of_its_own(tmp_path: Path) -> None:
    from searchmerge.lm_eval import score

    path = family(tmp_path, task={"fewshot_split": "validation"})
    bench = Bench(load(path, ["objective.tasks.0.options.split=validation"]))
    (model,) = bench.realise(bench.alone("a")).values()
    asked: list[int] = []
    model.register_forward_pre_hook(lambda _, args, kwargs: asked.append(args[0].shape[1]), with_kwargs=True)
    widths = []
    for shots in (None, 3, None):
        score(
            model,
            bench.tokenizer,
            None,
            tasks=str(tmp_path / "tiny.yaml"),
            split="validation",
            num_fewshot=shots,
        )
        widths.append(max(asked))
        asked.clear()
    assert widths[0] == widths[2] < widths[1]


@pytest.mark.usefixtures("harness")
def test_whoever_insists_has_the_test_split(tmp_path: Path) -> None:
    bench = Bench(load(family(tmp_path, allow_test=True)))
    found = bench.evaluate(bench.alone("a")).outcomes["choice"][:, 0].tolist()
    assert found == naive(bench.workshop.models["merged"], bench.tokenizer, rows(20, 1))


@pytest.mark.usefixtures("harness")
def test_a_document_is_not_among_its_own_worked_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = family(tmp_path, split="validation", num_fewshot=3, task={"fewshot_split": "validation"})
    bench = Bench(load(path))
    from lm_eval.models.huggingface import HFLM

    prompts: list[str] = []
    inner = HFLM.loglikelihood

    def noting(self: Any, requests: Any, *args: Any, **kwargs: Any) -> Any:
        prompts.extend(request.args[0] for request in requests)
        return inner(self, requests, *args, **kwargs)

    monkeypatch.setattr(HFLM, "loglikelihood", noting)
    bench.evaluate(bench.alone("a"))
    assert len(prompts) == 60
    for each in rows(20, 0):
        mine = [prompt for prompt in prompts if prompt.endswith(each["question"])]
        assert len(mine) == 3
        assert all(prompt.count(each["question"]) == 1 for prompt in mine)


def test_without_the_package_one_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchmerge import lm_eval

    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    lm_eval._manager.cache_clear()
    lm_eval._loaded.cache_clear()
    with pytest.raises(UserError, match=r'pip install "searchmerge\[lm-eval\]"'):
        list(check(Bench(load(family(tmp_path, split="validation")))))
