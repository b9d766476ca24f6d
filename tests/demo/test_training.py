"""The loss counts texts alike and scores what is to be scored; batches hold every text once a round."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from searchmerge.demo.training import UNSCORED, Lesson, batches, collate, loss_of

TARGETS = st.lists(st.lists(st.integers(-1, 3), min_size=4, max_size=4), min_size=1, max_size=5).filter(
    lambda rows: all(max(row) >= 0 for row in rows)
)


@given(rows=TARGETS, seed=st.integers(0, 1000))
def test_the_loss_is_the_mean_over_texts_of_the_mean_over_scored_targets(
    rows: list[list[int]], seed: int
) -> None:
    logits = torch.randn(len(rows), 4, 4, generator=torch.Generator().manual_seed(seed))
    targets = torch.tensor([[UNSCORED if one < 0 else one for one in row] for row in rows])
    texts = []
    for row, scores in zip(rows, logits.tolist(), strict=True):
        losses = [
            math.log(sum(math.exp(one) for one in place)) - place[target]
            for place, target in zip(scores, row, strict=True)
            if target >= 0
        ]
        texts.append(sum(losses) / len(losses))
    assert loss_of(logits, targets).item() == pytest.approx(sum(texts) / len(texts), rel=1e-5)


@pytest.mark.parametrize("texts", [1, 7, 32])
def test_for_classifiers_it_is_the_plain_cross_entropy_gradients_and_all(texts: int) -> None:
    generator = torch.Generator().manual_seed(texts)
    logits = torch.randn(texts, 3, generator=generator)
    targets = torch.randint(3, (texts,), generator=generator)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    torch.autograd.backward(loss_of(ours, targets[:, None]))
    torch.autograd.backward(nn.functional.cross_entropy(plain, targets))
    assert ours.grad is not None
    assert plain.grad is not None
    assert torch.equal(ours.grad, plain.grad)


def test_collate_pads_inputs_with_what_the_mask_hides_and_targets_with_unscored() -> None:
    lessons = [
        Lesson({"input_ids": [5, 6, 7], "decoder_input_ids": [1]}, [8]),
        Lesson({"input_ids": [9], "decoder_input_ids": [1, 2]}, [2, 3]),
    ]
    inputs, targets = collate(lessons)
    assert {name: rows.tolist() for name, rows in inputs.items()} == {
        "input_ids": [[5, 6, 7], [9, 0, 0]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "decoder_input_ids": [[1, 0], [1, 2]],
    }
    assert targets.tolist() == [[8, UNSCORED], [2, 3]]


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=70), size=st.integers(1, 8))
def test_every_text_comes_once_a_round(lengths: list[int], size: int) -> None:
    drawn = batches(lengths, size, torch.Generator().manual_seed(0))
    a_round = -(-len(lengths) // size)
    for _ in range(2):
        taken = [i for batch in islice(drawn, a_round) for i in batch]
        assert sorted(taken) == list(range(len(lengths)))
