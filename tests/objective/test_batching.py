"""Batches hold every token once, within the budget."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.objective.batching import CALL_TOKENS, Batches, pack

PAD = 99
examples = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=20), min_size=1, max_size=40)


def packed(ids: list[list[int]], batch_tokens: int) -> Batches:
    columns = {"input_ids": ids, "token_type_ids": [[1] * len(row) for row in ids]}
    padding = {"input_ids": PAD, "token_type_ids": 0}
    return pack(columns, padding, batch_tokens=batch_tokens, device=torch.device("cpu"))


@given(examples, st.integers(1, 100))
def test_unpacking_gives_the_examples_back(ids: list[list[int]], batch_tokens: int) -> None:
    result = packed(ids, batch_tokens)
    found: list[list[int]] = [[] for _ in ids]
    rows = (row for batch in result.batches for row in batch["input_ids"].tolist())
    for position, row in zip(result.order, rows, strict=True):
        found[position] = [number for number in row if number != PAD]
    assert found == ids


@given(examples, st.integers(1, 100))
def test_padding_is_on_the_right_and_masked(ids: list[list[int]], batch_tokens: int) -> None:
    for batch in packed(ids, batch_tokens).batches:
        real = batch["input_ids"] != PAD
        assert torch.equal(real, real.sort(dim=1, descending=True).values)
        assert torch.equal(batch["token_type_ids"], real.long())
        assert ("attention_mask" in batch) == (not real.all())
        assert torch.equal(batch.get("attention_mask", torch.ones_like(real)).bool(), real)


@given(examples, st.integers(1, 100))
def test_budget_and_counts(ids: list[list[int]], batch_tokens: int) -> None:
    result = packed(ids, batch_tokens)
    sizes = [batch["input_ids"].shape for batch in result.batches]
    assert all(rows == 1 or rows * width <= batch_tokens for rows, width in sizes)
    assert sum(rows * width for rows, width in sizes) == result.padded
    assert sum(map(len, ids)) == result.tokens
    assert max(map(len, ids)) == result.longest
    lengths = [len(ids[position]) for position in result.order]
    assert lengths == sorted(lengths, reverse=True)


@given(examples, st.integers(1, 100), st.integers(1, 4), st.integers(0, 99))
def test_no_batch_has_examples_of_two_groups(
    ids: list[list[int]], batch_tokens: int, groups: int, seed: int
) -> None:
    of = np.random.default_rng(seed).integers(groups, size=len(ids))
    padding, device = {"input_ids": PAD}, torch.device("cpu")
    result = pack({"input_ids": ids}, padding, batch_tokens=batch_tokens, device=device, groups=of.tolist())
    batches = [result.examples(number) for number in range(len(result.batches))]
    assert sorted(np.concatenate(batches)) == list(range(len(ids)))
    assert all(len(set(of[batch])) == 1 for batch in batches)
    assert of[result.order].tolist() == sorted(of)
    for group in set(of):  # each is cut as if it were alone
        members = np.flatnonzero(of == group)
        alone = pack(
            {"input_ids": [ids[at] for at in members]}, padding, batch_tokens=batch_tokens, device=device
        )
        found = [
            each["input_ids"]
            for each, of_batch in zip(result.batches, batches, strict=True)
            if of[of_batch[0]] == group
        ]
        assert all(map(torch.equal, found, [each["input_ids"] for each in alone.batches]))
        assert len(found) == len(alone.batches)
    assert (result.grouped, packed(ids, batch_tokens).grouped) == (True, False)


def test_equal_lengths_keep_their_order() -> None:
    assert packed([[1], [2, 2], [3], [4, 4]], 4).order.tolist() == [1, 3, 0, 2]
    assert np.array_equal(packed([[5, 6]] * 4, 4).batches[0]["input_ids"], [[5, 6], [5, 6]])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(1, 300), st.integers(1, 3))
def test_no_other_cuts_cost_less(lengths: list[int], batch_tokens: int, calls: int) -> None:
    def cost(widths: list[list[int]]) -> int:
        return sum(len(batch) * max(batch) + calls * CALL_TOKENS["cpu"] for batch in widths)

    def partitions(rest: list[int]) -> Iterator[list[list[int]]]:
        if not rest:
            yield []
        for end in range(1, len(rest) + 1):
            if end == 1 or end * rest[0] <= batch_tokens:
                yield from ([rest[:end], *others] for others in partitions(rest[end:]))

    rows = {"input_ids": [[1] * length for length in lengths]}
    result = pack(
        rows, {"input_ids": PAD}, batch_tokens=batch_tokens, device=torch.device("cpu"), calls=calls
    )
    found = [[lengths[i] for i in result.examples(number)] for number in range(len(result.batches))]
    assert cost(found) == min(map(cost, partitions(sorted(lengths, reverse=True))))
