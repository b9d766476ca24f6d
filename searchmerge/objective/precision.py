"""Which float type the forward pass computes in, and that weights are converted to it once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


def resolve(precision: str, device: torch.device) -> torch.dtype:
    """Turn the config's ``precision``, ``auto`` or the name of a type, into a type.

    ``auto`` is bfloat16 where the processor multiplies matrices of it natively, else float32. It goes by what
    the processor can do, never by a timing, so that a resumed run computes as the interrupted one did. It is
    never float16, whose range some models' activations exceed; older GPUs are faster in it, who names it
    gets it.
    """
    if precision == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    return _TYPES[precision]


@contextmanager
def computing(models: Iterable[nn.Module], precision: torch.dtype, device: torch.device) -> Iterator[None]:
    """Within the block, the models compute in that type and keep no gradients.

    A weight is converted once for all batches, and for all models that share it, so it must not change
    within the block: autocast keeps the converted copies of parameters that want a gradient, and only where
    it is not inference mode.
    """
    half = precision != torch.float32
    for model in models:
        model.requires_grad_(half)
    with torch.no_grad(), torch.autocast(device.type, precision if half else None, enabled=half):
        yield


_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Private names of torch, the only ones that tell; where one has gone, its feature counts as absent.
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device.type == "cpu" and any(
        hasattr(torch.cpu, probe) and getattr(torch.cpu, probe)() for probe in probes
    )
