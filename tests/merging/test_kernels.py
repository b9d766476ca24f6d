"""The compiled children against those of tensor operations, bit by bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.layout import Layout
from searchmerge.merging import crossover
from searchmerge.merging.crossover import Crossover, Parents
from searchmerge.merging.masks import BLOCK

SIZES = [1, 5, BLOCK // 2, BLOCK // 2 + 3, BLOCK, 2 * BLOCK + 7, 3 * BLOCK - 1]
FORMS = [
    (torch.float32, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
]


def both(of: Parents, layout: Layout, out: Tensor, *, over_the_parent: bool = False) -> tuple[Tensor, Tensor]:
    """The child as it is compiled and by tensor operations."""
    children = []
    for types in (crossover.COMPILED, ()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(crossover, "COMPILED", types)
            parent = of.parent.clone()
            child = parent if over_the_parent else torch.full_like(out, torch.nan)
            Crossover(layout, "parameter", torch.device("cpu")).write(
                Parents(parent, of.mutant, of.cr, of.seed), child
            )
            children.append(child)
    return children[0], children[1]


@pytest.mark.parametrize(("stored", "written"), FORMS, ids=str)
@pytest.mark.parametrize("terms", range(1, 6))
@given(
    sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=3),
    coefficients=st.lists(st.just(1.0) | st.floats(-2, 2, width=32), min_size=5, max_size=5),
    cr=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=8)
def test_compiled_children_are_those_of_tensor_operations(
    stored: torch.dtype,
    written: torch.dtype,
    terms: int,
    sizes: list[int],
    coefficients: list[float],
    cr: float,
    seed: int,
) -> None:
    layout = Layout.of({f"tensor {number}": (size,) for number, size in enumerate(sizes)})
    rows = torch.randn(6, layout.size, generator=torch.Generator().manual_seed(seed)).to(stored)
    of = Parents(rows[0], [(rows[k + 1], coefficients[k]) for k in range(terms)], cr, seed)
    compiled, plain = both(of, layout, torch.empty(layout.size, dtype=written))
    assert torch.equal(compiled, plain)


@pytest.mark.parametrize("stored", crossover.COMPILED, ids=str)
def test_a_compiled_child_may_take_its_parents_memory(stored: torch.dtype) -> None:
    layout = Layout.of({"tensor": (BLOCK + 9,)})
    rows = torch.randn(2, layout.size).to(stored)
    compiled, plain = both(Parents(rows[0], [(rows[1], 0.5)], 0.5, 3), layout, rows[0], over_the_parent=True)
    assert torch.equal(compiled, plain)
    assert not torch.equal(compiled, rows[0])


@pytest.mark.parametrize("number", [0.0, 1e38, -1e38, 1e-40, 1.0 + 2**-8, 1.0 + 3 * 2**-8])
def test_what_is_kept_in_bfloat16_is_rounded_as_torch_rounds(number: float) -> None:
    layout = Layout.of({"tensor": (3,)})
    rows = torch.full((2, 3), number).bfloat16()
    compiled, plain = both(Parents(rows[0], [(rows[1], 1.0), (rows[0], 2.0**-9)], 1.0, 0), layout, rows[0])
    assert torch.equal(compiled, plain)


def test_nothing_to_write_is_no_mistake() -> None:
    layout = Layout.of({"tensor": (0,)})
    children = both(Parents(torch.empty(0), [(torch.empty(0), 1.0)], 0.5, 0), layout, torch.empty(0))
    assert [child.numel() for child in children] == [0, 0]
