"""Whether a merge fits: the memory that its sources need, and what is there."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import torch

from searchmerge.sources.family import Sources
from searchmerge.types import UserError

_FLOAT32 = 4
_GIB = 2**30


def bytes_needed(sources: Sources, models: float) -> int:
    """Bytes that a worker holds.

    Args:
        sources: the opened checkpoints, for the sizes of what is merged and of the experts' heads.
        models: copies of the merged parameters, counted in float32, that the space keeps. A copy of the
            largest tensor comes on top, as scratch.
    """
    sizes = [math.prod(sources.shape(name)) for name in sources.merged]
    own = sum(
        math.prod(expert.tensors[tensor].shape)
        for name, expert in sources.experts.items()
        for tensor in sources.heads[name]
    )
    return int(_FLOAT32 * (models * sum(sizes) + max(sizes) + own))


def memory_there(device: torch.device) -> int:
    """Bytes that are free on a device; for the CPU no more than the container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(min(psutil.virtual_memory().available, _container_limit()))


def check_fits(sources: Sources, models: float, device: torch.device) -> None:
    """Refuse a merge that cannot fit; arguments as :func:`bytes_needed`.

    Raises:
        UserError: less memory is there than the sources need.
    """
    needed, there = bytes_needed(sources, models), memory_there(device)
    if needed > there:
        raise UserError(
            expected=f"{needed / _GIB:.1f} GiB of free memory on {device} for {len(sources.experts)} experts",
            got=f"{there / _GIB:.1f} GiB",
            cure="free memory, merge fewer experts at a time, or take a larger machine",
        )


def _container_limit() -> float:
    """The control group's limit in bytes: psutil sees the whole machine."""
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no control groups, or "max"
        return math.inf
