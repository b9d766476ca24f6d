"""The float type of the forward pass follows what the processor can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from searchmerge.objective.precision import computing, resolve

CPU = torch.device("cpu")
PROBES = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


@pytest.mark.parametrize(
    ("amx", "avx512", "expected"),
    [
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
        (False, False, torch.float32),
    ],
)
def test_auto_on_cpu(monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, expected: torch.dtype) -> None:
    for probe, there in zip(PROBES, (amx, avx512), strict=True):
        monkeypatch.setattr(torch.cpu, probe, lambda there=there: there, raising=False)
    assert resolve("auto", CPU) == expected


def test_auto_where_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    for probe in PROBES:
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    assert resolve("auto", CPU) == torch.float32


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_auto_on_cuda(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve("auto", torch.device("cuda")) == expected


def test_what_the_user_names_is_taken() -> None:
    assert resolve("float32", CPU) == torch.float32
    assert resolve("bfloat16", CPU) == torch.bfloat16
    assert resolve("float16", CPU) == torch.float16


class Conversions(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """Counts how often a weight of 8 x 4 is converted to another type."""

    count = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten._to_copy.default and args[0].shape == (8, 4):
            self.count += 1
        return func(*args, **kwargs or {})


def test_a_weight_is_converted_once_for_all_models_and_batches() -> None:
    one, other = nn.Linear(4, 8), nn.Linear(4, 8)
    other.weight = one.weight
    conversions = Conversions()  # type: ignore[no-untyped-call]
    with conversions, computing([one, other], torch.bfloat16, CPU):
        answers = [model(torch.ones(2, 4)) for _ in range(3) for model in (one, other)]
    assert conversions.count == 1
    assert all(answer.dtype == torch.bfloat16 and not answer.requires_grad for answer in answers)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_next_block_sees_the_next_weights(precision: torch.dtype) -> None:
    model = nn.Linear(4, 8, bias=False)
    for value in (1.0, 2.0):
        model.weight.data.fill_(value)
        with computing([model], precision, CPU):
            assert (model(torch.ones(1, 4)) == 4 * value).all()
