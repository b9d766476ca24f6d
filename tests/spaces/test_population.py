"""The population space against weights that are computed from the checkpoints' files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.layout import Layout
from searchmerge.merging.crossover import Parents, Unit
from searchmerge.merging.masks import key
from searchmerge.nursery import Maker, Nursery
from searchmerge.plugins import make_strategy
from searchmerge.spaces._options import STORAGES
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.population import PopulationSpace
from searchmerge.types import Cross, Founders, Genotype, Recipe, UserError, default_genotype
from tests.family import rewrite, tiny_family
from tests.merging.making import Floats, doubles
from tests.merging.test_crossover import naive_child
from tests.merging.test_masks import is_kept
from tests.sources.zoo import edit

NAMES = ("animals", "colours", "shapes", "sizes")
LAYOUT = Layout.of({"embeddings.weight": (3, 2), "encoder.layer.0.weight": (2, 2), "head.weight": (2, 2)})
F = 3 / 8
"""With it, children and grandchildren of weights that are multiples of 1/64 are exact in float32."""

CHILD = Cross("animals", (("animals", 1.0), ("colours", F), ("shapes", -F)), 0.5, 11)
SECOND = Cross("colours", ((1, 1 - F), ("sizes", F)), 0.3, 2**32 - 1)
GRANDCHILD = Cross(1, ((2, 1.0), ("shapes", F), (1, -F)), 0.6, 0)
LIFE: list[Genotype] = [
    ("animals",),
    (CHILD, "colours", "shapes", "sizes"),
    (1, SECOND, "shapes", "sizes"),
    (GRANDCHILD, 2, "shapes", "sizes"),
]
"""The genotypes of trials 0 to 3: three children, each of which takes its parent's place."""


def space(**options: Any) -> PopulationSpace:
    return PopulationSpace(options, experts=NAMES, layout=LAYOUT, seed=3)


def decoded(population: PopulationSpace, genotypes: list[Genotype]) -> list[Recipe]:
    past: list[Recipe] = []
    for genotype in genotypes:
        past.append(population.decode(genotype, past))
    return past


def ids(recipe: Recipe) -> list[Any]:
    return [entry["id"] for entry in recipe["lineage"]]


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"populaton": 3}, "unknown key space.populaton"),
        ({"unit": "word"}, "space.unit: one of parameter, row, tensor, layer"),
        ({"unit": None}, "space.unit"),
        ({"storage": "int8"}, "space.storage: one of float32, bfloat16, float16"),
        ({"fitness": "both"}, "space.fitness: one of individual, merged"),
        ({"fitness": "merged"}, "space.merge"),
        ({"merge": 3}, "space.merge"),
        ({"merge": "tiez"}, "ties"),
        ({"merge": {"method": "ties", "density": [0.1, 1]}}, "fixed knobs in space.merge"),
        ({"merge": {"method": "ties", "wieght": 1}}, "unknown key space.wieght"),
        ({"merge": {"method": "ties", "density": {"pets": 0.5}}}, "space.density.pets"),
        ({"merge": {"method": "ties", "storage": "bfloat16"}}, "set space.storage"),
        ({"merge": "slerp"}, "2 experts for slerp"),
        ({"variants": ["pairs"]}, "space.variants"),
        ({"variants": None}, "space.variants"),
        ({"variants": {"pair": True}}, "space.variants"),
        ({"variants": {"pairs": 1}}, "space.variants"),
        ({"variants": {"scaled": 0.5}}, "space.variants"),
        ({"variants": {"scaled": ["half"]}}, "space.variants"),
        ({"variants": {"jitter": 0.1}}, "space.variants"),
        ({"variants": {"jitter": {"copies": 1}}}, "space.variants"),
        ({"variants": {"jitter": {"copies": -1, "size": 0.1}}}, "space.variants"),
        ({"variants": {"jitter": {"copies": 1.5, "size": 0.1}}}, "space.variants"),
        ({"variants": {"jitter": {"copies": 1, "size": -0.1}}}, "space.variants"),
        ({"variants": {"jitter": {"copies": 1, "size": "small"}}}, "space.variants"),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_its_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        space(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"storage": ["bfloat16"]},
        {"variants": {"scaled": [float("nan")]}},
        {"variants": {"scaled": [True]}},
        {"variants": {"jitter": {"copies": True, "size": 0.1}}},
        {"variants": {"jitter": {"copies": 1, "size": float("inf")}}},
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_refused_by_the_name_of_its_key(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"space\.(storage|variants)"):
        space(**options)


def test_scales_that_differ_by_little_are_founders_all_the_same() -> None:
    assert len(space(variants={"scaled": [0.12345678, 0.12345679]}).dims.names) == 3 * len(NAMES)


def test_one_model_is_no_population_unless_it_has_variants() -> None:
    with pytest.raises(UserError, match=r"space\.variants"):
        PopulationSpace({}, experts=("a",), layout=LAYOUT)
    copies = {"variants": {"jitter": {"copies": 1, "size": 0.1}}}
    assert PopulationSpace(copies, experts=("a",), layout=LAYOUT).dims.names == ("a", "jitter(a, 1)")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"variants": {"scaled": [0.5]}}, r"space\.variants\.scaled"), ({"merge": "ties"}, "a base model")],
)
def test_differences_from_the_base_need_one(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PopulationSpace(options, experts=NAMES, layout=LAYOUT, has_base=False)
    PopulationSpace({"merge": "linear"}, experts=NAMES, layout=LAYOUT, has_base=False)


def test_the_founders_are_the_experts_and_the_variants_asked_for() -> None:
    assert space().dims.names == NAMES
    variants = {"pairs": True, "scaled": [0.5, 2], "jitter": {"copies": 2, "size": 0.1}}
    names = PopulationSpace({"variants": variants}, experts=("a", "b"), layout=LAYOUT).dims.names
    assert set(names[:3]) == {"a", "b", "mean(a, b)"}
    assert set(names[3:7]) == {f"{scale} * {name}" for scale in ("0.5", "2.0") for name in "ab"}
    assert set(names[7:]) == {f"jitter({name}, {copy})" for name in "ab" for copy in (1, 2)}


@pytest.mark.parametrize(
    ("options", "together", "finale"),
    [
        ({}, False, False),
        ({"fitness": "individual"}, False, False),
        ({"merge": "linear"}, True, False),
        ({"merge": "linear", "fitness": "merged"}, True, False),
        ({"merge": "linear", "fitness": "individual"}, False, True),
    ],
)
def test_a_score_is_of_the_population_merged_or_of_one_and_at_last_the_population(
    options: dict[str, Any], together: bool, finale: bool
) -> None:
    assert space(**options).dims == Founders(NAMES, together=together, finale=finale)


# Recipes


@pytest.mark.parametrize(
    "options", [{}, {"merge": "ties"}, {"merge": "ties", "fitness": "individual"}], ids=str
)
def test_recipes_survive_json_and_past_ones_are_only_read(options: dict[str, Any]) -> None:
    past = decoded(space(**options), LIFE)
    assert json.loads(json.dumps(past)) == past
    before = json.dumps(past)
    assert json.dumps(decoded(space(**options), LIFE)) == before
    from_journal = json.loads(before)
    again = space(**options).decode(LIFE[3], from_journal[:3])
    assert again == past[3]
    assert from_journal == json.loads(before)


def test_a_childs_recipe_is_its_lineage_back_to_the_experts() -> None:
    past = decoded(space(), LIFE)
    child = past[1]
    assert child["members"] == [1]
    assert child["living"] == list(NAMES)
    assert ids(child) == [*NAMES, 1]
    assert child["lineage"][0] == {"id": "animals", "sources": [["animals", 1.0]]}
    assert child["lineage"][-1] == {
        "id": 1,
        "parent": "animals",
        "mutant": [["animals", 1.0], ["colours", F], ["shapes", -F]],
        "cr": 0.5,
        "seed": 11,
    }
    assert (past[3]["members"], past[3]["living"]) == ([3], [1, 2, "shapes", "sizes"])
    assert ids(past[3]) == [*NAMES, 1, 2, 3]


def test_a_lineage_is_in_the_order_of_the_trials_whatever_the_slots() -> None:
    """Two of a generation, neither of whom lived when the other was born."""
    first, second, third = (
        Cross(name, (("shapes", 1.0),), 0.5, 1) for name in ("sizes", "animals", "colours")
    )
    genotypes: list[Genotype] = [
        LIFE[0],
        ("animals", "colours", "shapes", first),
        (second, "colours", "shapes", "sizes"),
        (2, third, "shapes", 1),
    ]
    recipe = decoded(space(), genotypes)[3]
    assert recipe["living"] == [2, "colours", "shapes", 1]
    assert ids(recipe) == [*NAMES, 1, 2, 3]


def test_who_has_died_without_living_descendants_is_left_out() -> None:
    past = decoded(space(), LIFE)
    orphan = Cross("sizes", (("shapes", 1.0),), 0.5, 1)
    later = decoded(space(), [*LIFE, (1, 2, "shapes", orphan), (1, 2, orphan, "sizes")])[-1]
    assert 3 not in ids(later), "trial 3 was not accepted"
    assert 4 not in ids(later)
    lone = space().decode((Cross("shapes", (("sizes", 1.0),), 0.5, 1), "sizes"), past)
    assert ids(lone) == ["shapes", "sizes", 4]


@pytest.mark.parametrize(
    ("genotype", "members"),
    [(("animals",), ["animals"]), (LIFE[1], [1])],
)
def test_pruned_leaves_what_the_weights_depend_on(genotype: Genotype, members: list[Any]) -> None:
    recipe = decoded(space(), [LIFE[0], genotype])[1]
    pruned = PopulationSpace.pruned(recipe)
    assert (pruned["members"], pruned["living"]) == (members, [])
    assert ids(pruned) == (["animals"] if members == ["animals"] else ["animals", "colours", "shapes", 1])
    assert "sizes" in ids(recipe), "it lives all the same"
    assert PopulationSpace.pruned(pruned) == pruned
    kept = ("space", "unit", "storage", "merge")
    assert {name: pruned[name] for name in kept} == {name: recipe[name] for name in kept}


def test_a_population_scored_together_is_merged_in_every_recipe() -> None:
    past = decoded(space(merge={"method": "ties", "density": 0.5}), [NAMES, *LIFE[1:]])
    assert [recipe["members"] for recipe in past] == [
        list(NAMES),
        [1, "colours", "shapes", "sizes"],
        [1, 2, "shapes", "sizes"],
        [3, 2, "shapes", "sizes"],
    ]
    assert past[2]["living"] == [1, "colours", "shapes", "sizes"], "the parent lives until it is replaced"
    for recipe in past:
        assert recipe["merge"]["method"] == "ties"
        assert recipe["merge"]["knobs"]["density"] == 0.5
    assert set(ids(PopulationSpace.pruned(past[3]))) == {*NAMES, 1, 2, 3}


def test_a_population_scored_one_by_one_is_merged_in_the_finale_alone() -> None:
    past = decoded(space(merge="ties", fitness="individual"), [*LIFE, (3, 2, "shapes", "sizes")])
    assert [recipe["merge"] for recipe in past[:-1]] == [None] * 4
    assert [recipe["members"] for recipe in past[:-1]] == [["animals"], [1], [2], [3]]
    assert past[-1]["merge"]["method"] == "ties"
    assert past[-1]["members"] == past[-1]["living"] == [3, 2, "shapes", "sizes"]


# Weights


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and four experts with a head that is merged; all weights are multiples of 1/64."""
    folder = tmp_path_factory.mktemp("family")
    path = tiny_family(folder, heads=False)
    for number, name in enumerate(NAMES[2:]):
        shutil.copytree(folder / "experts" / "animals", folder / "experts" / name)
        edit(folder / "experts" / name, lambda tensors, seed=number: _nudge(tensors, seed))  # type: ignore[misc]
    for saved in (folder / "base", *(folder / "experts" / name for name in NAMES)):
        edit(saved, lambda tensors: tensors.update({k: (64 * t).round() / 64 for k, t in tensors.items()}))
    experts = {name: f"experts/{name}" for name in NAMES}
    return rewrite(path, models={"base": "base", "experts": experts}, space={"kind": "population"})


def _nudge(tensors: dict[str, Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(100 + seed)
    for name, tensor in tensors.items():
        tensors[name] = tensor + 0.1 * torch.randn(tensor.shape, generator=generator)


@pytest.fixture(scope="module")
def bench(config: Path) -> Bench:
    return Bench(load(config))


def population(bench: Bench, **options: Any) -> PopulationSpace:
    has_base = bench.sources.base is not None
    experts = tuple(bench.sources.experts)
    return PopulationSpace(options, experts=experts, layout=bench.layout, has_base=has_base, seed=3)


def realised(bench: Bench, recipe: Recipe) -> Tensor:
    """The live model, float32 ``[size]``, in the layout's order."""
    state = PopulationSpace.realise(recipe, bench.workshop)["merged"].state_dict()
    return flat(bench, state)


def stored(bench: Bench, name: str | None) -> Tensor:
    """A checkpoint from its file, the base for None, in the layout's order."""
    checkpoint = bench.sources.base if name is None else bench.sources.experts[name]
    assert checkpoint is not None
    return flat(bench, load_file(checkpoint.folder / "model.safetensors"))


def flat(bench: Bench, tensors: Mapping[str, Tensor]) -> Tensor:
    by_name = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    return torch.cat([by_name[span.name].flatten() for span in bench.layout.spans])


def naive_life(bench: Bench, unit: Unit, dtype: torch.dtype) -> dict[int | str, Tensor]:
    """All individuals of ``LIFE`` in their type, a parameter at a time."""
    rows: dict[int | str, Tensor] = {name: stored(bench, name).to(dtype) for name in NAMES}
    for trial, cross in enumerate((CHILD, SECOND, GRANDCHILD), start=1):
        mutant = [(rows[individual], coefficient) for individual, coefficient in cross.mutant]
        of = Parents(rows[cross.parent], mutant, cross.cr, cross.seed)
        rows[trial] = torch.from_numpy(naive_child(bench.layout, unit, of)).to(dtype)
    return rows


def recipes(
    space: PopulationSpace, score: Callable[[int], float], trials: int, **options: Any
) -> Iterator[Recipe]:
    """The recipes of a run of ``de`` whose scores are made up from the trials' numbers."""
    strategy = make_strategy("de", options, dims=space.dims, seed=1, budget=trials)
    past = [space.decode(default_genotype(space.dims))]
    yield past[0]
    while len(past) < trials and (batch := strategy.ask()):
        scores = []
        for candidate in batch:
            past.append(space.decode(candidate.genotype, past))
            yield past[-1]
            scores.append(score(len(past) - 1))
        strategy.tell(scores)


def accept_all(trial: int) -> float:
    return float(trial)


def accept_some(trial: int) -> float:
    return float(np.random.default_rng(trial).normal()) + trial / 3


@pytest.mark.parametrize("name", NAMES)
def test_a_founder_alone_is_the_expert_to_the_bit(bench: Bench, name: str) -> None:
    recipe = population(bench).decode((name,))
    models = PopulationSpace.realise(recipe, bench.workshop)
    expert = load_file(bench.sources.experts[name].folder / "model.safetensors")
    found = models["merged"].state_dict()
    assert expert
    for parameter, tensor in expert.items():
        assert torch.equal(found[parameter], tensor), parameter


@pytest.mark.parametrize("storage", STORAGES)
def test_a_founder_is_rounded_to_the_type_that_it_is_stored_in(bench: Bench, storage: str) -> None:
    variants = {"scaled": [0.3]}  # the experts themselves are exact in all three
    space = population(bench, storage=storage, variants=variants)
    found = realised(bench, space.decode(("0.3 * sizes",)))
    assert torch.equal(found, found.to(STORAGES[storage]).float())
    expected = 0.7 * doubles(stored(bench, None)) + 0.3 * doubles(stored(bench, "sizes"))
    half_a_step = torch.finfo(STORAGES[storage]).eps / 2 * np.abs(expected)
    assert (np.abs(doubles(found) - expected) <= half_a_step + 1e-6).all()
    assert (np.abs(doubles(found) - expected).max() > 1e-5) == (storage != "float32")


@pytest.mark.parametrize(
    ("founder", "shares"),
    [
        ("mean(animals, colours)", {"animals": 0.5, "colours": 0.5}),
        ("mean(colours, sizes)", {"colours": 0.5, "sizes": 0.5}),
        ("0.5 * shapes", {None: 0.5, "shapes": 0.5}),
        ("1.5 * animals", {None: -0.5, "animals": 1.5}),
        ("0.0 * animals", {None: 1.0}),
    ],
)
def test_pairs_and_scaled_founders_are_those_sums_of_checkpoints(
    bench: Bench, founder: str, shares: Mapping[str | None, float]
) -> None:
    space = population(bench, variants={"pairs": True, "scaled": [0.5, 1.5, 0]})
    expected = sum(share * doubles(stored(bench, name)) for name, share in shares.items())
    assert np.array_equal(doubles(realised(bench, space.decode((founder,)))), expected)


@pytest.mark.parametrize("copy", [1, 2])
def test_jitter_moves_each_parameter_up_or_down_by_a_share_of_its_tensors_task_vector(
    bench: Bench, copy: int
) -> None:
    space = population(bench, variants={"jitter": {"copies": 2, "size": 0.25}})
    found = doubles(realised(bench, space.decode((f"jitter(colours, {copy})",))))
    expert, base = doubles(stored(bench, "colours")), doubles(stored(bench, None))
    for span in bench.layout.spans:
        run = slice(span.start, span.stop)
        step = 0.25 * np.sqrt(((expert[run] - base[run]) ** 2).mean())
        signs = [
            1 if is_kept(key(3, copy, "colours", span.name), j, 0.5) else -1
            for j in range(run.stop - run.start)
        ]
        np.testing.assert_allclose(found[run], expert[run] + step * np.array(signs), rtol=0, atol=1e-6)


def test_jitter_without_a_base_is_a_share_of_the_tensor_itself(config: Path, tmp_path: Path) -> None:
    experts = {name: str(config.parent / "experts" / name) for name in NAMES}
    shutil.copy(config, tmp_path / "config.yaml")
    baseless = Bench(load(rewrite(tmp_path / "config.yaml", models={"experts": experts})))
    space = population(baseless, variants={"jitter": {"copies": 1, "size": 0.5}})
    moved = doubles(realised(baseless, space.decode(("jitter(sizes, 1)",)))) - doubles(
        stored(baseless, "sizes")
    )
    for span in baseless.layout.spans:
        run = slice(span.start, span.stop)
        step = 0.5 * np.sqrt((doubles(stored(baseless, "sizes"))[run] ** 2).mean())
        np.testing.assert_allclose(np.abs(moved[run]), step, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("unit", "storage"),
    [
        ("parameter", "float32"),
        ("parameter", "bfloat16"),
        ("row", "bfloat16"),
        ("tensor", "float16"),
        ("layer", "float32"),
    ],
)
def test_children_and_grandchildren_are_the_naive_loops_from_the_checkpoints(
    bench: Bench, unit: Unit, storage: str
) -> None:
    expected = naive_life(bench, unit, STORAGES[storage])
    past = decoded(population(bench, unit=unit, storage=storage), LIFE)
    found = {trial: realised(bench, past[trial]) for trial in (1, 2, 3)}
    for trial, weights in found.items():
        assert torch.equal(weights, expected[trial].float()), trial
        assert not any(torch.equal(weights, expected[name].float()) for name in NAMES), "a child is new"


@pytest.mark.parametrize(
    "change",
    [
        {"parent": "sizes"},
        {"mutant": (("animals", 1.0), ("colours", F), ("sizes", -F))},
        {"mutant": (("colours", 1.0), ("animals", F), ("shapes", -F))},
        {"mutant": (("animals", 1.0), ("colours", F / 2), ("shapes", -F / 2))},
        {"cr": 0.6},
        {"seed": 12},
    ],
    ids=str,
)
def test_another_runs_child_of_the_same_trial_is_not_mistaken_for_this_ones(
    bench: Bench, change: dict[str, Any]
) -> None:
    other = replace(CHILD, **change)
    one, another = (decoded(population(bench), [LIFE[0], (cross, *NAMES)])[1] for cross in (CHILD, other))
    unborn = realised(bench, another)
    assert not torch.equal(realised(bench, PopulationSpace.pruned(one)), unborn)
    assert torch.equal(realised(bench, PopulationSpace.pruned(another)), unborn)


def test_equal_founders_have_children_equal_to_them(config: Path, tmp_path: Path) -> None:
    """To the bit: with F = 3/8 and weights of few bits all sums are exact."""
    shutil.copy(config, tmp_path / "config.yaml")
    one = str(config.parent / "experts" / "sizes")
    twins = Bench(load(rewrite(tmp_path / "config.yaml", models={"experts": dict.fromkeys(NAMES, one)})))
    for rule in ("rand/1", "best/1", "current-to-best/1", "evolver", "evolver-code"):
        for recipe in recipes(population(twins), accept_all, 12, rule=rule, f=F, cr=0.5):
            assert torch.equal(realised(twins, recipe), stored(twins, "sizes")), rule


# The same weights again


RUNS: list[tuple[dict[str, Any], str]] = [
    ({}, "sequential"),
    ({"unit": "layer", "merge": "linear", "fitness": "individual"}, "generation"),
    (
        {"unit": "row", "storage": "bfloat16", "variants": {"jitter": {"copies": 1, "size": 0.1}}},
        "generation",
    ),
    ({"storage": "bfloat16", "merge": {"method": "ties", "density": 0.3}}, "sequential"),
    ({"unit": "tensor", "storage": "float16", "merge": "task_arithmetic"}, "sequential"),
]


@pytest.fixture(scope="module", params=RUNS, ids=str)
def run(request: pytest.FixtureRequest, bench: Bench) -> list[tuple[Recipe, Tensor]]:
    """The recipes of a whole run in which some children are accepted, with their weights."""
    options, update = request.param
    space = population(bench, **options)
    asked = recipes(space, accept_some, 22, rule="evolver-code", update=update)
    return [(recipe, realised(bench, recipe)) for recipe in asked]


def test_a_pruned_recipe_in_a_new_workshop_gives_what_the_run_had(
    config: Path, run: list[tuple[Recipe, Tensor]]
) -> None:
    assert len(run[-1][0]["lineage"]) > 8, "there are children of children"
    new = Bench(load(config))
    for recipe, weights in (run[-1], run[12], run[-2], run[0]):
        sent = json.loads(json.dumps(PopulationSpace.pruned(recipe)))
        assert torch.equal(realised(new, sent), weights)


def test_a_run_that_goes_on_in_a_new_workshop_gives_what_the_first_one_would_have(
    config: Path, run: list[tuple[Recipe, Tensor]]
) -> None:
    resumed = Bench(load(config))
    for recipe, weights in run[15:]:
        assert torch.equal(realised(resumed, recipe), weights)


# Merges of a population


def ties(base: Floats, rows: list[Floats], density: float) -> Floats:
    """Yadav et al. 2023: trim each to its largest over the whole model, elect, mean of those who agree."""
    deltas = np.array(rows) - base
    count = max(1, int(density * base.size))
    for delta in deltas:
        delta[np.abs(delta) < np.sort(np.abs(delta))[-count]] = 0
    sign = np.where(deltas.sum(axis=0) >= 0, 1, -1)
    agree = deltas * sign > 0
    merged: Floats = base + (deltas * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)
    return merged


BY_HAND: dict[str, tuple[dict[str, Any], Callable[[Floats, list[Floats]], Floats]]] = {
    "linear": ({}, lambda base, rows: np.mean(rows, axis=0)),
    "task_arithmetic": ({"weight": 0.5}, lambda base, rows: base + 0.5 * (np.array(rows) - base).sum(axis=0)),
    "ties": ({"density": 0.3}, lambda base, rows: ties(base, rows, 0.3)),
}


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", BY_HAND)
def test_a_population_with_a_child_is_merged_as_by_hand(bench: Bench, method: str, storage: str) -> None:
    """With the child unborn, as it is scored, and stored, as once it has taken its parent's place."""
    knobs, by_hand = BY_HAND[method]
    rows = naive_life(bench, "parameter", STORAGES[storage])
    base = doubles(stored(bench, None))
    space = population(bench, storage=storage, merge={"method": method, **knobs})
    past = decoded(space, [NAMES, *LIFE[1:], (3, 2, "shapes", "sizes")])
    for trial in (1, 3, 4):
        members = [doubles(rows[individual]) for individual in past[trial]["members"]]
        found = doubles(realised(bench, past[trial]))
        np.testing.assert_allclose(found, by_hand(base, members), rtol=0, atol=1e-6)
    assert torch.equal(realised(bench, past[3]), realised(bench, past[4])), "the same population"


@pytest.mark.parametrize(
    "merge",
    [
        {"method": "ties", "density": 0.3, "weight": {"shapes": 0.25}},
        {"method": "ties", "reading": "mergekit", "density": {"animals": 0.9, "colours": 0.1}},
        {"method": "ties", "granularity": {"density": "layer"}, "density": 0.4, "lambda": 1.5},
        {"method": "dare_ties", "density": 0.6},
        {"method": "dare_linear", "reading": "mergekit", "density": 0.6, "seed": 8},
        {"method": "della", "density": 0.6},
        {"method": "breadcrumbs", "density": 0.6, "gamma": 0.1},
        {"method": "sce", "density": 0.6},
        {"method": "task_arithmetic", "weight": 0.3},
    ],
    ids=str,
)
def test_a_population_merges_as_its_members_saved_to_disk_do(
    bench: Bench, config: Path, tmp_path: Path, merge: dict[str, Any]
) -> None:
    """To the bit: slot by slot the members stand where the founders stood, under their names."""
    space = population(bench, merge=merge)
    past = decoded(space, [NAMES, *LIFE[1:]])
    rows = naive_life(bench, "parameter", torch.float32)
    for name, individual in zip(NAMES, past[3]["members"], strict=True):
        shutil.copytree(config.parent / "experts" / name, tmp_path / name)
        edit(tmp_path / name, lambda tensors, row=rows[individual]: _fill(bench.layout, tensors, row))  # type: ignore[misc]
    shutil.copy(config, tmp_path / "config.yaml")
    experts = {name: str(tmp_path / name) for name in NAMES}
    models = {"base": str(config.parent / "base"), "experts": experts}
    saved = Bench(load(rewrite(tmp_path / "config.yaml", models=models)))
    coefficients = CoefficientSpace(merge, experts=NAMES, layout=saved.layout, seed=3)
    CoefficientSpace.realise(coefficients.decode(()), saved.workshop)
    assert torch.equal(realised(bench, past[3]), saved.workshop.live)


def _fill(layout: Layout, tensors: dict[str, Tensor], row: Tensor) -> None:
    places = {span.name: span for span in layout.spans}
    for name in tensors:
        span = places[name.removeprefix("bert.")]
        tensors[name] = row[span.start : span.stop].view(span.shape).clone()


@pytest.mark.parametrize(
    "merge",
    [
        {"method": "ties", "density": 0.3},
        {"method": "ties", "granularity": {"weight": "tensor"}, "density": 0.3},
        {"method": "ties", "reading": "mergekit", "density": 0.3},
        "linear",
    ],
    ids=str,
)
def test_a_merge_piece_by_piece_is_the_merge_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, merge: Any
) -> None:
    """The child is read from the live model while the merge is written there."""
    recipe = decoded(population(bench, merge=merge), [NAMES, *LIFE[1:]])[3]
    at_once = realised(bench, recipe)
    monkeypatch.setattr("searchmerge.spaces.population._PIECE", 1000)
    bench.workshop.nursery.known.clear()
    assert torch.equal(realised(bench, recipe), at_once)


def test_the_order_of_the_members_changes_a_linear_merge_by_rounding_alone(bench: Bench) -> None:
    space = population(bench, merge="linear")
    past = decoded(space, [NAMES, *LIFE[1:]])
    one = realised(bench, space.decode((2, "shapes", 1, "sizes"), past[:3]))
    other = realised(bench, space.decode(("sizes", 1, 2, "shapes"), past[:3]))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert not torch.equal(one, realised(bench, past[1])), "a merge that does not move proves nothing"


def test_scored_one_by_one_each_is_alone_and_the_finale_is_the_merge_of_the_last_population(
    bench: Bench,
) -> None:
    alone, together = (
        population(bench, merge={"method": "ties", "density": 0.3}, fitness=fitness)
        for fitness in ("individual", "merged")
    )
    bare = population(bench)
    last = (3, 2, "shapes", "sizes")
    one_by_one, as_one, without = (
        decoded(space, [first, *LIFE[1:], *finale])
        for space, first, finale in (
            (alone, ("animals",), [last]),
            (together, NAMES, [last]),
            (bare, ("animals",), []),
        )
    )
    for trial in range(4):
        assert torch.equal(realised(bench, one_by_one[trial]), realised(bench, without[trial]))
    assert torch.equal(realised(bench, one_by_one[4]), realised(bench, as_one[4]))
    assert not torch.equal(realised(bench, as_one[1]), realised(bench, without[1]))


# Memory


class Rows:
    """Watches how many rows there are whenever an individual is made, and where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most, self.born = 0, 0
        settle = Nursery.settle

        def watched(nursery: Nursery, living: Any, parents: Any, make: Maker, dtype: torch.dtype) -> None:
            def counting(name: str, rows: Mapping[str, Tensor], out: Tensor) -> None:
                here = [out, *rows.values(), *nursery._rows.values()]
                self.most = max(self.most, len({row.data_ptr() for row in here}))
                self.born += bool(rows)
                make(name, rows, out)

            settle(nursery, living, parents, counting, dtype)

        monkeypatch.setattr(Nursery, "settle", watched)


@pytest.mark.parametrize("score", [accept_all, accept_some])
@pytest.mark.parametrize("options", [{}, {"merge": "ties", "storage": "bfloat16"}], ids=str)
def test_a_sequential_run_holds_no_more_rows_than_founders_and_the_dead_leave_theirs(
    config: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], score: Callable[[int], float]
) -> None:
    fresh = Bench(load(config))
    space, rows = population(fresh, **options), Rows(monkeypatch)
    places = []
    for recipe in recipes(space, score, 24, rule="rand/1", update="sequential"):
        PopulationSpace.realise(recipe, fresh.workshop)
        places.append({row.data_ptr() for row in fresh.workshop.nursery._rows.values()})
    assert rows.born > 5, "children were accepted"
    assert rows.most == len(NAMES)
    assert all(place == places[0] for place in places), "a child is written over the one it replaces"


def test_a_run_that_goes_on_late_holds_no_more_rows_than_founders(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed, rows = Bench(load(config)), Rows(monkeypatch)
    run = list(recipes(population(resumed), accept_all, 24, rule="rand/1"))
    PopulationSpace.realise(run[-1], resumed.workshop)
    assert rows.born == 24 - 2 - len(NAMES), "all but the last, which is not accepted yet"
    assert rows.most == len(NAMES)


def test_children_of_a_generation_take_less_than_twice_the_rows(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Born before the first of them takes its place, they may all need all parents but the last one's."""
    fresh, rows = Bench(load(config)), Rows(monkeypatch)
    for recipe in recipes(population(fresh), accept_all, 24, rule="rand/1", update="generation"):
        PopulationSpace.realise(recipe, fresh.workshop)
        assert len(fresh.workshop.nursery._rows) == len(NAMES)
    assert rows.born > 5
    assert rows.most < 2 * len(NAMES)


def test_a_newly_born_child_is_not_stored(bench: Bench) -> None:
    past = decoded(population(bench), LIFE)
    PopulationSpace.realise(past[1], bench.workshop)
    founders = set(bench.workshop.nursery._rows)
    PopulationSpace.realise(past[0], bench.workshop)
    assert set(bench.workshop.nursery._rows) == founders
