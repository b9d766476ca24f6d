"""Inputs in 8 bits against a loop, and their products against what is expected of them."""

from __future__ import annotations

from collections.abc import Iterator
from math import floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from searchmerge.merging.masks import mix
from searchmerge.statistics import gram
from searchmerge.statistics.eight_bits import LARGEST, rounded
from searchmerge.statistics.gram import grams, products_in
from searchmerge.types import UserError


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def inputs(tokens: int = 37, size: int = 21, seed: int = 0) -> Tensor:
    """Normal numbers in columns of very different sizes, one of them of zeros."""
    rows = torch.randn(tokens, size, generator=torch.Generator().manual_seed(seed))
    rows *= torch.logspace(-6, 4, size)
    rows[:, 3] = 0
    return rows


def hashed(number: int) -> int:
    word = torch.tensor([number % 2**32], dtype=torch.int64).to(torch.int32)
    return int(mix(word, torch.empty_like(word))) % 2**32


@pytest.mark.usefixtures("threads")
def test_rounding_is_a_loop_over_inputs() -> None:
    rows, key = inputs(), 12345
    numbers, steps, _ = rounded(rows, key)
    assert numbers.dtype == torch.int8
    for column in range(rows.shape[1]):
        largest = rows[:, column].abs().max()
        assert torch.equal(steps[column], largest / LARGEST)
        for token in range(rows.shape[0]):
            if largest == 0:
                assert numbers[token, column] == 0
                continue
            chance = (hashed(hashed(token ^ hashed(key)) + column) >> 16) / 2**16
            exact = rows[token, column].item() / steps[column].item() + chance
            # In float32 what is that near an integer may fall on the other side of it.
            assert int(numbers[token, column]) in {floor(exact - 1e-4), floor(exact + 1e-4)}


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_nothing_is_moved_further_than_a_step(key: int, tokens: int, size: int) -> None:
    rows = torch.randn(tokens, size, generator=torch.Generator().manual_seed(key)) * 100
    numbers, steps, squares = rounded(rows, key)
    assert ((numbers * steps - rows).abs() <= steps * 1.0001).all()
    assert torch.allclose(squares, rows.double().square().sum(dim=0).float(), rtol=1e-5)


def test_the_largest_input_never_wraps_around() -> None:
    rows = torch.tensor([[3.7e8, -1.1e-9, 127.0, -127.0, 1e-35]]).repeat(500, 1)
    for key in range(200):
        numbers, _, _ = rounded(rows, key)
        assert (numbers.sign() == rows.sign()).all()
        assert (numbers.abs() >= LARGEST - 1).all()


def test_inputs_and_products_are_what_is_expected_of_them() -> None:
    rows, times = inputs(tokens=7, size=6), 4000
    error, products = torch.zeros(7, 6, dtype=torch.float64), torch.zeros(6, 6, dtype=torch.float64)
    for key in range(times):
        numbers, steps, _ = rounded(rows, key)
        moved = numbers.double() - rows.double() / steps.double().clamp(min=1e-30)
        error += moved / times
        products += moved.T @ moved / times
    # A rounding has a deviation of at most half a step, a product of two at most a quarter.
    assert (error.abs() < 5 * 0.5 / times**0.5).all()
    apart = products - products.diagonal().diag()
    assert (apart.abs() < 5 * 0.25 * (7 / times) ** 0.5).all()


@pytest.mark.usefixtures("threads")
def test_grams_of_bytes_have_the_exact_diagonal_and_are_near_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gram, "_BLOCK", 16)
    monkeypatch.setattr(gram, "MOST_ROWS", 500)
    model = nn.Sequential(nn.Linear(40, 24), nn.GELU(), nn.Linear(24, 3))
    batches = [{"input": torch.randn(900, 40)}, {"input": 3 * torch.randn(700, 40)}]
    exact, found = grams(model, batches), grams(model, batches, products="int8")
    for name, expected in exact.matrices.items():
        got = found.matrices[name]
        assert torch.equal(got, got.T)
        assert torch.allclose(got.diagonal(), expected.diagonal(), rtol=1e-5)
        scale = expected.diagonal().sqrt()
        apart = ((got - expected) / scale[:, None] / scale).abs()
        assert 0 < apart.max() < 0.005
    again = grams(model, batches, products="int8")
    assert all(torch.equal(again.matrices[name], each) for name, each in found.matrices.items())


def test_inputs_that_are_no_numbers_are_seen() -> None:
    batches = [{"input": torch.tensor([[1.0, float("nan"), 2.0], [1.0, 1.0, float("inf")]])}]
    found = grams(nn.Sequential(nn.Linear(3, 2)), batches, products="int8")
    assert not found.matrices["0.weight"].diagonal()[1:].isfinite().any()


def test_what_is_quickest_depends_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for native, half, expected in (
        (True, True, "int8"),
        (False, True, "bfloat16"),
        (False, False, "float32"),
    ):
        monkeypatch.setattr(gram, "multiplies_bytes", lambda native=native: native)
        monkeypatch.setattr(gram, "resolve", lambda *_, half=half: torch.bfloat16 if half else torch.float32)
        assert products_in("auto", cpu) == expected
        assert products_in("auto", torch.device("cuda")) == ("bfloat16" if half else "float32")
    assert [products_in(name, cpu) for name in ("float32", "bfloat16", "int8")] == [
        "float32",
        "bfloat16",
        "int8",
    ]


def test_bytes_are_refused_elsewhere_than_on_a_cpu() -> None:
    with pytest.raises(UserError, match="cuda"):
        products_in("int8", torch.device("cuda"))
