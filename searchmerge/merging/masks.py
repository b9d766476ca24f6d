"""Random masks without randomness: whether a parameter is kept is a hash of what it is.

A mask is a function of (seed, expert, tensor, index) and the density. So it needs no storage, is the same
for all candidates and on every device, and what is kept at one density is kept at every higher one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor


def key(seed: int, expert: str, tensor: str) -> int:
    """Give the 64-bit hash key of one expert's tensor."""
    text = json.dumps([seed, expert, tensor])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def mix(words: Tensor, spare: Tensor) -> Tensor:
    """Hash 32-bit words in place with lowbias32 (Wellons 2018, "Prospecting for Hash Functions").

    A bijection of 32-bit words in which every output bit depends on every input bit.

    Args:
        words: int32 ``[n]``, read as unsigned; overwritten.
        spare: int32 ``[n]``, overwritten.

    Returns:
        ``words``.
    """
    _xor_shift(words, 16, spare).mul_(0x7FEB352D)
    _xor_shift(words, 15, spare).mul_(0x846CA68B - 2**32)
    return _xor_shift(words, 16, spare)


def _xor_shift(words: Tensor, bits: int, spare: Tensor) -> Tensor:
    torch.bitwise_right_shift(words, bits, out=spare)
    spare.bitwise_and_((1 << (32 - bits)) - 1)  # torch shifts the sign in, the hash shifts zeros in
    return words.bitwise_xor_(spare)


class Masks:
    """The masks of one slab, written chunk by chunk.

    The hash of index ``j`` under the key ``high:low`` is ``mix((mix(j) ^ low) + high)``, 32 bits each, read
    as signed. An index beyond 2^32 starts the sequence again.

    Args:
        keys: one 64-bit key an expert.
        chunk: the longest chunk that will be asked for.
        device: where the masks are wanted.
    """

    def __init__(self, keys: Sequence[int], chunk: int, device: torch.device) -> None:
        self._halves = [(_signed(key), _signed(key >> 32)) for key in keys]
        self._counter = torch.arange(chunk, dtype=torch.int32, device=device)
        self._scratch = torch.empty((3, chunk), dtype=torch.int32, device=device)

    def write(self, part: slice, densities: Sequence[float], rows: Tensor) -> None:
        """Write 1 for the parameters kept and 0 for those dropped.

        Args:
            part: which parameters of the slab.
            densities: one an expert, in ``(0, 1]``: the probability of being kept.
            rows: float32 ``[experts, part]``.
        """
        width = part.stop - part.start
        indices, words, spare = self._scratch[:, :width]
        torch.add(self._counter[:width], _signed(part.start), out=indices)
        mix(indices, spare)
        for (low, high), density, row in zip(self._halves, densities, rows, strict=True):
            torch.bitwise_xor(indices, low, out=words)
            mix(words.add_(high), spare)
            torch.le(words, math.ceil(density * 2**32) - 1 - 2**31, out=words)
            row.copy_(words)


def _signed(word: int) -> int:
    """The low 32 bits of a number, read as a signed word."""
    return (word + 2**31) % 2**32 - 2**31
