"""States behind first layers: the same bits, within the limit, and nothing reused that is not the same."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from searchmerge.layers import Stack, Step, lay, stacks_of
from searchmerge.layers.prefixes import Prefixes
from tests.layers.zoo import MAKERS, WRITERS, inputs, layers_of, random_path, texts, tiny

GIB = 2**30
Batch = dict[str, Tensor]


def told(path: Sequence[Step]) -> list[str]:
    """A name for each beginning of a path, by the very layers."""
    steps = [f"{id(step.layer)} {step.origin} {step.scale}" for step in path]
    return ["/".join(steps[: depth + 1]) for depth in range(len(steps))]


class Walk:
    """A live model whose first stack takes paths, watched."""

    def __init__(self, name: str, limit: int = GIB) -> None:
        self.model, self.prefixes = tiny(name), Prefixes(limit)
        self.stack: Stack = stacks_of(self.model)[0]
        self.sources = [layers_of(tiny(name, seed), self.stack) for seed in (1, 2)]

    def path(self, *steps: tuple[int, int]) -> list[Step]:
        return [Step(self.sources[source][index], index) for source, index in steps]

    @contextmanager
    def on(self, path: Sequence[Step]) -> Iterator[Any]:
        lay(self.model, self.stack, path)
        watched = {"head": (self.model, layers_of(self.model, self.stack))}
        with torch.no_grad(), self.prefixes.watching(watched, told(path)):
            yield self.model

    def __call__(self, path: Sequence[Step], *batches: Batch, **more: Any) -> list[Tensor]:
        with self.on(path) as model:
            return [model(**batch, **more).logits for batch in batches]

    def plain(self, path: Sequence[Step], *batches: Batch) -> list[Tensor]:
        lay(self.model, self.stack, path)
        with torch.no_grad():
            return [self.model(**batch).logits for batch in batches]

    @property
    def counts(self) -> tuple[int, int]:
        return self.prefixes.run, self.prefixes.saved


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def related_paths(rng: np.random.Generator, walk: Walk, count: int) -> list[list[Step]]:
    """Random paths of which most begin as an earlier one does."""
    paths = [random_path(rng, walk.sources)]
    while len(paths) < count:
        earlier = paths[int(rng.integers(len(paths)))]
        paths.append(earlier[: int(rng.integers(len(earlier) + 1))] + random_path(rng, walk.sources)[:3])
    return paths


@pytest.mark.parametrize("name", MAKERS)
def test_no_bit_differs_and_layers_are_saved(name: str) -> None:
    walk, rng = Walk(name), np.random.default_rng(0)
    batches = [inputs(walk.model, rng), {"input_ids": texts(rng)}]
    if "decoder_input_ids" in batches[0]:
        batches[1]["decoder_input_ids"] = texts(rng)
    for path in related_paths(rng, walk, 25):
        assert same(walk(path, *batches), walk.plain(path, *batches))
    run, saved = walk.counts
    assert saved > 25
    assert run > 0


def test_what_runs_is_what_a_trie_of_the_paths_says() -> None:
    walk, rng = Walk("bert"), np.random.default_rng(0)
    batch = inputs(walk.model, rng)
    walk(walk.path((0, 0)), batch)  # now the batch is known, and this beginning; its states are not kept
    assert walk.counts == (1, 0)
    walk(walk.path((0, 0), (0, 1), (0, 2)), batch)  # parts from the first behind one layer
    assert walk.counts == (4, 0)
    walk(walk.path((0, 0), (1, 1)), batch)
    assert walk.counts == (5, 1)
    walk(walk.path((0, 0), (0, 1), (1, 2)), batch)  # behind (0, 1) nobody had parted: there was room
    assert walk.counts == (6, 3)
    walk(walk.path((0, 0), (0, 1), (1, 2)), batch)
    assert walk.counts == (6, 6)


def test_what_shares_nothing_keeps_nothing() -> None:
    walk, rng = Walk("llama"), np.random.default_rng(0)
    batch = inputs(walk.model, rng)
    lay(walk.model, walk.stack, walk.path((0, 0)))
    before = live_bytes()
    for number in range(20):
        walk([Step(walk.sources[0][0], 0, 1 + number / 100), *walk.path((0, 1), (0, 2))], batch)
    lay(walk.model, walk.stack, walk.path((0, 0)))  # the last path's copies go
    assert walk.counts == (60, 0)
    assert live_bytes() == before


def live_bytes() -> int:
    """The memory of all tensors that there are, each storage once."""
    gc.collect()
    storages = {}
    for each in gc.get_objects():
        if type(each) in (Tensor, nn.Parameter):  # isinstance asks odd objects odd things
            storages[each.untyped_storage().data_ptr()] = each.untyped_storage().nbytes()
    return sum(storages.values())


@pytest.mark.parametrize("states", [0, 1, 3, 7, 50])
def test_the_limit_holds(states: int) -> None:
    rng = np.random.default_rng(0)
    rows, length, hidden = 2, 7, 16
    limit = states * rows * length * hidden * 4 + 100  # float32
    walk = Walk("gpt2", limit)
    batches = [{"input_ids": texts(rng)} for _ in range(3)]
    paths = related_paths(rng, walk, 30)
    walk(paths[0], *batches)
    lay(walk.model, walk.stack, walk.path((0, 0)))
    before, most = live_bytes(), 0
    for number, path in enumerate(paths):
        assert same(walk(path, *batches), walk.plain(path, *batches))
        if number % 6 == 5:
            lay(walk.model, walk.stack, walk.path((0, 0)))
            most = max(most, live_bytes() - before)
    assert most <= limit
    assert most > limit / 2 or not states
    assert (walk.prefixes.saved > 0) == (states > 0)


def test_beginnings_that_were_of_use_outlive_those_that_were_not() -> None:
    rng = np.random.default_rng(0)
    walk = Walk("gpt2", 2 * 2 * 7 * 16 * 4)  # two states
    batch = {"input_ids": texts(rng)}
    ends = [(source, index) for source in (0, 1) for index in range(3)]
    for last in ends:  # all part behind one layer
        walk(walk.path((0, 0), last), batch)
    assert walk.prefixes.saved == len(ends) - 2
    for first in ((1, 1), (1, 2)):  # two more partings: the oldest of three has to go
        for last in ends[:2]:
            walk(walk.path(first, last), batch)
    saved = walk.prefixes.saved
    walk(walk.path((1, 1), (1, 0)), batch)
    walk(walk.path((1, 2), (1, 0)), batch)
    assert walk.prefixes.saved == saved + 2
    walk(walk.path((0, 0), (0, 0), (0, 0)), batch)
    assert walk.prefixes.saved == saved + 2


def test_tensors_made_for_one_call_are_never_known() -> None:
    walk, rng = Walk("bert"), np.random.default_rng(0)
    batch, path = inputs(walk.model, rng), walk.path((0, 0), (0, 1))
    lay(walk.model, walk.stack, path)
    before = live_bytes()
    for _ in range(10):
        made = {name: tensor.clone() for name, tensor in batch.items()}
        assert same(walk(path, made), walk.plain(path, batch))
        del made  # the next one may get its memory
    assert walk.prefixes.saved == 0
    assert live_bytes() == before


def test_a_batch_that_was_written_to_is_another_one() -> None:
    walk, rng = Walk("bert"), np.random.default_rng(0)
    batch, path = inputs(walk.model, rng), walk.path((0, 0), (0, 1))
    for _ in range(3):
        walk(path, batch)
    saved = walk.prefixes.saved
    assert saved == 2
    batch["input_ids"].copy_(texts(rng))
    assert same(walk(path, batch), walk.plain(path, batch))
    assert walk.prefixes.saved == saved


def test_other_values_make_another_batch() -> None:
    walk, rng = Walk("bert"), np.random.default_rng(0)
    ids, path = inputs(walk.model, rng)["input_ids"], walk.path((0, 0), (0, 1))
    first, second = torch.ones_like(ids), torch.ones_like(ids)
    second[:, 4:] = 0
    kinds: list[Batch] = [
        {"input_ids": ids},
        *({"input_ids": ids, "attention_mask": m} for m in (first, second)),
    ]
    # The same tensors under other names.
    kinds += [{"input_ids": ids, "position_ids": first}, {"input_ids": ids, "token_type_ids": first}]
    for _ in range(3):
        assert same(walk(path, *kinds), walk.plain(path, *kinds))
    assert walk.prefixes.saved > 0


def test_two_heads_do_not_share_what_differs_in_them() -> None:
    one, other = Walk("bert"), Walk("bert")
    other.model.bert.embeddings.word_embeddings.weight.data += 1.0
    path, batch = one.path((0, 0), (0, 1)), inputs(one.model, np.random.default_rng(0))
    expected = [one.plain(path, batch), other.plain(path, batch)]
    watched = {str(n): (w.model, layers_of(w.model, w.stack)) for n, w in enumerate((one, other))}
    for _ in range(3):
        with torch.no_grad(), one.prefixes.watching(watched, told(path)):
            got = [[w.model(**batch).logits] for w in (one, other)]
        assert all(map(same, got, expected))
    assert one.prefixes.saved > 0


def test_precisions_are_told_apart() -> None:
    walk, rng = Walk("bert"), np.random.default_rng(0)
    path, batch = walk.path((0, 0), (0, 1)), inputs(walk.model, rng)
    for half in (False, False, False, True, False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            assert same(walk(path, batch), walk.plain(path, batch))
    assert walk.counts == (6 + 0, 6)


@pytest.mark.parametrize("name", WRITERS)
def test_writing_goes_round_it(name: str) -> None:
    walk, rng = Walk(name), np.random.default_rng(0)
    ids = texts(rng)
    for path in related_paths(rng, walk, 6):
        for cache in (True, False):
            asked = {"max_new_tokens": 5, "do_sample": False, "use_cache": cache}
            with walk.on(path) as model:
                written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **asked)
            assert torch.equal(
                written, model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **asked)
            )


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_a_cache_is_filled_by_every_layer(name: str) -> None:
    walk, rng = Walk(name), np.random.default_rng(0)
    ids, path = texts(rng), walk.path((0, 0), (0, 1), (1, 2))
    for _ in range(4):
        with walk.on(path) as model:
            known = model(input_ids=ids, use_cache=True).past_key_values
            kept = [known.layers[at].keys.shape[-2] for at in range(3)]
            longer = model(input_ids=ids, past_key_values=known).past_key_values
            model(input_ids=ids)
        assert kept == [7, 7, 7]
        assert longer.get_seq_length() == 14
    assert walk.prefixes.saved > 0


@pytest.mark.parametrize(
    ("name", "by_config"), [*((name, False) for name in MAKERS), ("bert", True), ("llama", True)]
)
def test_hidden_states_that_are_asked_for_are_the_layers_own(name: str, by_config: bool) -> None:
    walk, rng = Walk(name), np.random.default_rng(0)
    path, batch = walk.path((0, 0), (0, 1), (1, 2)), inputs(walk.model, rng)
    field = "encoder_hidden_states" if walk.model.config.is_encoder_decoder else "hidden_states"
    asked = {} if by_config else {"output_hidden_states": True}
    for _ in range(3):
        walk(path, batch)
    walk.model.config.output_hidden_states = by_config
    with walk.on(path) as model:
        got = model(**batch, **asked)[field]
    with torch.no_grad():
        expected = walk.model(**batch, **asked)[field]
    assert len(got) == 4
    assert same(got, expected)


def test_with_gradients_nothing_is_kept() -> None:
    walk, rng = Walk("bert"), np.random.default_rng(0)
    path, batch = walk.path((0, 0), (0, 1)), inputs(walk.model, rng)
    for _ in range(3):
        with walk.on(path) as model, torch.enable_grad():
            model(**batch)
    assert walk.prefixes.saved == 0


class Layer(nn.Module):
    """One that writes into its input where asked to."""

    def __init__(self, factor: float, in_place: bool) -> None:
        super().__init__()
        self.factor, self.in_place = nn.Parameter(torch.tensor(factor)), in_place

    def forward(self, states: Tensor) -> Tensor:
        return states.mul_(self.factor).add_(1) if self.in_place else states * self.factor + 1


class Row(nn.Module):
    """Layers one after the other, with something between them where asked for."""

    def __init__(self, *layers: Layer, between: str = "") -> None:
        super().__init__()
        self.layers, self.between = nn.ModuleList(layers), between

    def forward(self, states: Tensor) -> Tensor:
        first = states = states * 2
        for layer in self.layers:
            states = layer(states)
            if self.between == "adds":
                states = states + first
            elif self.between == "writes":
                states += 1
        return states


def answers(rows: Sequence[Row], prefixes: Prefixes) -> list[Tensor]:
    batch = torch.arange(6.0)
    got = []
    for row in rows:
        digests = [
            "/".join(str(x.factor.item()) for x in [*row.layers][: n + 1]) for n in range(len(row.layers))
        ]
        with torch.no_grad(), prefixes.watching({"head": (row.eval(), list(row.layers))}, digests):
            got.append(row(states=batch))
    return got


@pytest.mark.parametrize("between", ["", "adds", "writes"])
@pytest.mark.parametrize("in_place", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_layers_and_models_that_write_or_add_are_noticed(between: str, in_place: tuple[int, ...]) -> None:
    prefixes, rng = Prefixes(GIB), np.random.default_rng(0)
    factors = rng.choice([0.5, 2.0, 3.0], (40, 3)).tolist()
    rows = [Row(*(Layer(x, at in in_place) for at, x in enumerate(row)), between=between) for row in factors]
    with torch.no_grad():
        expected = [row(torch.arange(6.0)) for row in rows]
    got = answers(rows, prefixes)
    assert same(got, expected)
    assert prefixes.run + prefixes.saved == 120
    if between:
        assert prefixes.saved == 0
    elif not in_place:
        assert prefixes.saved > 60


class Wide(nn.Module):
    """A layer whose output is a part of a larger tensor, which it holds on to."""

    def forward(self, states: Tensor) -> Tensor:
        return states.repeat(10)[: len(states)]


@pytest.mark.parametrize(("limit", "saved"), [(6 * 4 * 10 - 1, 0), (6 * 4 * 10, 3)])
def test_a_part_of_a_tensor_counts_as_the_whole(limit: int, saved: int) -> None:
    prefixes, row, batch = Prefixes(limit), Row(), torch.arange(6.0)
    row.layers.append(Wide())
    for _ in range(5):  # it is new, then known, then kept
        with torch.no_grad(), prefixes.watching({"head": (row.eval(), list(row.layers))}, ["wide"]):
            row(states=batch)
    assert prefixes.saved == saved


def test_an_error_in_a_layer_leaves_nothing_behind() -> None:
    walk, rng = Walk("bert"), np.random.default_rng(0)
    path, batch = walk.path((0, 0), (0, 1), (0, 2)), inputs(walk.model, rng)
    walk(path, batch)
    lay(walk.model, walk.stack, path)
    broken = layers_of(walk.model, walk.stack)
    handle = broken[2].register_forward_hook(lambda *_: 1 / 0)
    watching = walk.prefixes.watching({"head": (walk.model, broken)}, told(path))
    with pytest.raises(ZeroDivisionError), torch.no_grad(), watching:
        walk.model(**batch)
    handle.remove()
    assert all("forward" not in vars(layer) and not layer._forward_pre_hooks for layer in broken)
    assert not walk.model._forward_hooks
    assert not walk.model._forward_pre_hooks
    other = inputs(walk.model, rng)
    for _ in range(3):
        assert same(walk(path, batch, other), walk.plain(path, batch, other))
    assert walk.prefixes.saved > 0
