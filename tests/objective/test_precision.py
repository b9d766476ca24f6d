"""The float type of the forward pass follows what the processor can do."""

from __future__ import annotations

import pytest
import torch

from searchmerge.objective.precision import resolve

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
