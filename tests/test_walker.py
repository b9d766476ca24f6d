"""Live models on paths are what one gets by putting a plain model together, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from searchmerge import merge
from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.evaluate import evaluate
from searchmerge.export import export
from searchmerge.files import read_json
from searchmerge.journal import read
from searchmerge.optimize import optimize
from searchmerge.recipes import recipe_file, reopen
from searchmerge.types import Recipe, UserError
from tests.family import rewrite, tiny_family

INPUTS = {"input_ids": torch.tensor([[2, 5, 7, 9, 3], [2, 6, 8, 4, 3]])}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(load(tiny_family(tmp_path_factory.mktemp("family"))))


def path(*steps: Sequence[Any], rest: str = "animals", stages: dict[str, Recipe] | None = None) -> Recipe:
    return {
        "space": "paths",
        "rest": rest,
        "stacks": {"encoder.layer": [list(step) for step in steps]},
        "stages": stages or {},
    }


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**INPUTS).logits
    return found


def expert(bench: Bench, name: str) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(bench.sources.experts[name].folder).eval()


def put_together(bench: Bench, head: str, rest: str, steps: Sequence[tuple[str, int]]) -> Any:
    """A plain model from the experts' tensors, copied by name."""
    states = {name: expert(bench, name).state_dict() for name in bench.sources.experts}
    config = AutoConfig.from_pretrained(bench.sources.experts[head].folder)
    config.num_hidden_layers = len(steps)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    layers = "bert.encoder.layer."
    state = {name: tensor for name, tensor in states[rest].items() if not name.startswith(layers)}
    state |= {name: tensor for name, tensor in states[head].items() if name.startswith("classifier")}
    for position, (source, index) in enumerate(steps):
        for name, tensor in states[source].items():
            if name.startswith(f"{layers}{index}."):
                state[name.replace(f"{layers}{index}.", f"{layers}{position}.")] = tensor
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("name", ["animals", "colours"])
def test_all_layers_of_one_model_are_that_model_to_the_bit(bench: Bench, name: str) -> None:
    model = bench.realise(path((name, 0), (name, 1), rest=name))[name]
    assert torch.equal(logits(model), logits(expert(bench, name)))


@pytest.mark.parametrize(
    "steps",
    [
        [("animals", 0), ("colours", 1)],
        [("colours", 1)],
        [("colours", 0), ("animals", 0), ("colours", 0), ("animals", 1), ("animals", 1)],
    ],
)
def test_a_path_is_the_model_put_together_from_its_layers(bench: Bench, steps: list[tuple[str, int]]) -> None:
    models = bench.realise(path(*steps, rest="colours"))
    for head, model in models.items():
        assert torch.equal(logits(model), logits(put_together(bench, head, "colours", steps)))


def test_no_weight_is_copied_for_a_candidate(bench: Bench) -> None:
    models = bench.realise(path(("colours", 1), ("colours", 1), ("animals", 0)))
    one, other = (dict(model.named_parameters(remove_duplicate=False)) for model in models.values())
    layer = [name for name in one if name.startswith("bert.encoder.layer.0.")]
    for name in layer:
        assert one[name] is one[name.replace("layer.0.", "layer.1.")]
        assert one[name] is other[name]


def test_a_source_may_be_what_an_earlier_search_found(bench: Bench) -> None:
    average = bench.merge(method="linear")
    for name in ("animals", "colours"):
        found = logits(bench.realise(path(("won", 0), ("won", 1), rest="won", stages={"won": average}))[name])
        assert torch.equal(found, logits(bench.realise(average)[name]))
    other = bench.merge(method="linear", weight={"animals": 1.0, "colours": 0.0})
    walked = bench.realise(path(("won", 0), ("animals", 1), rest="won", stages={"won": other}))["animals"]
    torch.testing.assert_close(logits(walked), logits(expert(bench, "animals")))


def test_the_base_is_a_source(bench: Bench) -> None:
    base = bench.merge(method="task_arithmetic", weight=0)
    found = logits(bench.realise(path(("base", 0), ("base", 1), rest="base"))["colours"])
    assert torch.equal(found, logits(bench.realise(base)["colours"]))


def test_recipes_are_remade_and_exported_as_plain_models(bench: Bench, tmp_path: Path) -> None:
    recipe = path(("animals", 1), ("colours", 0, 1.25), ("animals", 0, 0.8), rest="colours")
    content = recipe_file(bench.sources, bench.config.models, bench.heads, recipe, bench.statistics)
    workshop = reopen(content, trust_remote_code=False, allow_pickle=False)
    export(recipe, workshop, bench.heads, None, "", tmp_path / "model")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    assert loaded.config.num_hidden_layers == 3
    live = logits(bench.realise(recipe)["animals"])
    assert (logits(loaded) - live).abs().max() < 1e-3 * live.std()
    plain = logits(
        bench.realise(path(*(step[:2] for step in recipe["stacks"]["encoder.layer"]), rest="colours"))[
            "animals"
        ]
    )
    assert (plain - live).abs().max() > 0.1 * live.std(), "the factors must matter here"
    assert logits(bench.realise(recipe)["animals"]).equal(live)


# Searches of paths, alone and after others.

BEFORE = {
    "name": "weights",
    "space": {"kind": "coefficients", "method": "task_arithmetic", "weight": [0.0, 1.0]},
    "strategy": {"kind": "random"},
    "budget": {"evaluations": 4},
}
PATHS = {"kind": "paths", "encoding": "steps", "scale": [0.8, 1.25], "scales": "jumps"}


def run(config: Path, out: Path, *, resume: bool = False) -> dict[str, Any]:
    return optimize(load(config), out, resume=resume, watch=lambda *_: None, say=lambda _: None)


def test_one_command_searches_weights_and_then_layers(tmp_path: Path) -> None:
    config = rewrite(
        tiny_family(tmp_path),
        before=[BEFORE],
        space=PATHS,
        baselines=["average"],
        budget={"evaluations": 8},
    )
    result = run(config, tmp_path / "out")
    header, trials = read(tmp_path / "out" / "journal.jsonl")
    _, earlier = read(tmp_path / "out" / "weights" / "journal.jsonl")
    winner = max(earlier, key=lambda trial: trial.score)
    assert result["before"]["weights"]["trial"] == winner.number
    assert header["stages"] == {"weights": winner.recipe}
    assert trials[0].score == winner.score, "the first path is the earlier search's winner as it is"
    assert result["baselines"]["search weights"]["dev"]["score"] == winner.score
    assert len({str(trial.recipe) for trial in trials}) > 4

    best = read_json(tmp_path / "out" / "recipe.json", "a recipe")["recipe"]
    assert set(best["stages"]) <= {"weights"}
    found = evaluate(str(tmp_path / "out" / "model"), load(config), "test")
    assert found["score"] == pytest.approx(result["best"]["test"]["score"])
    merge.from_recipe(
        tmp_path / "out" / "recipe.json", tmp_path / "again", allow_pickle=False, trust_remote_code=False
    )
    for name in ("model.safetensors", "config.json"):
        again = (tmp_path / "again" / name).read_bytes()
        assert again == (tmp_path / "out" / "model" / name).read_bytes()


def test_a_run_that_was_cut_short_between_its_searches_goes_on(tmp_path: Path) -> None:
    (tmp_path / "family").mkdir()
    config = rewrite(tiny_family(tmp_path / "family"), before=[BEFORE], space=PATHS, baselines=["average"])
    run(config, tmp_path / "whole")
    lines = {}
    for name in ("weights/journal.jsonl", "journal.jsonl"):
        lines[name] = (tmp_path / "whole" / name).read_bytes().splitlines(keepends=True)
    for cut in ({"weights/journal.jsonl": 3}, {"weights/journal.jsonl": 5, "journal.jsonl": 4}):
        out = tmp_path / f"cut-{len(cut)}"
        for name, kept in cut.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(b"".join(lines[name][:kept]))
        run(config, out, resume=True)
        for name, whole in lines.items():
            found, expected = read(out / name), read(tmp_path / "whole" / name)
            assert len(whole) == 1 + len(found[1])
            assert [trial.recipe for trial in found[1]] == [trial.recipe for trial in expected[1]]
            assert [trial.score for trial in found[1]] == [trial.score for trial in expected[1]]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"before": [{**BEFORE, "space": {"kind": "paths"}}]}, "as many layers as its sources"),
        ({"before": [BEFORE, BEFORE]}, "a name of its own"),
        ({"before": [{**BEFORE, "name": "a/b"}]}, "without slashes"),
        ({"before": [{**BEFORE, "name": "model"}]}, "a folder beside model"),
        ({"before": [BEFORE], "space": {"kind": "coefficients"}}, "such as paths"),
        ({"before": [{**BEFORE, "name": "animals"}]}, "rename the stage or expert"),
        ({"before": [{**BEFORE, "strategy": {"kind": "random", "x": 1}}]}, "unknown key strategy.x"),
    ],
)
def test_wrong_earlier_searches_are_refused(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    config = rewrite(tiny_family(tmp_path), **{"space": PATHS, **sections})
    with pytest.raises(UserError, match=message):
        run(config, tmp_path / "out")
    assert not list(tmp_path.glob("out/**/journal.jsonl"))


def test_a_merge_without_a_search_has_no_earlier_ones(tmp_path: Path) -> None:
    config = rewrite(tiny_family(tmp_path), space=PATHS, before=[BEFORE])
    with pytest.raises(UserError, match="remove before"):
        merge.from_config(load(config), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge.from_config(load(config, ["before=[]"]), tmp_path / "out")
    assert (tmp_path / "out" / "config.json").exists()
