"""Random masks without randomness: whether a parameter is marked is a hash of what it is.

A mask is a function of a key (of the seed and the tensor), the parameter's index and the share that is
marked. So it needs no storage, is the same for all candidates and on every device, and what is marked at one
share is marked at every higher one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

import torch
from torch import Tensor

BLOCK = 2**18
"""Parameters whose words come from one key: the arrays of a block fit the cache of a core."""

STEPS = 2**16
"""Shares are rounded to multiples of one in so many."""

_WORDS = BLOCK // 2
_ONE = 0x3F800000
"""The bits of 1.0 in float32."""


def key(*parts: int | str) -> int:
    """Give the 64-bit hash key of a seed and names."""
    digest = blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


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
    """Masks of float32 ones and zeros, made block by block in one piece of scratch memory.

    Parameter ``j`` of a tensor stands at place ``i = j mod BLOCK`` of block ``j // BLOCK``. The block's key
    is the hash of the tensor's key and the block's number, its halves are ``high`` and ``low``. Word ``w`` of
    the block is ``mix((mix(w) ^ low) + high)``, 32 bits. Place ``i`` has the upper 16 bits of word ``i`` if
    ``i`` is below ``BLOCK / 2``, else the lower 16 bits of word ``i - BLOCK / 2``; read as signed, it is
    marked where they are less than ``share * 2^16 - 2^15``.

    (Two places share a word because the hash is what takes the time; halves of a block, not neighbours,
    because then every step is one operation on whole vectors.)

    Args:
        device: where the masks are wanted.
    """

    def __init__(self, device: torch.device) -> None:
        self._words, self._spare = torch.empty((2, _WORDS), dtype=torch.int32, device=device)
        self._counter = mix(torch.arange(_WORDS, dtype=torch.int32, device=device), self._spare).clone()
        self._bits = torch.empty(BLOCK, dtype=torch.int32, device=device)

    def block(self, key: int, number: int, width: int, share: float) -> Tensor:
        """Give the mask of the first parameters of a block, valid until the next call.

        Args:
            key: 64 bits, of the tensor.
            number: of the block in the tensor.
            width: parameters wanted, at most ``BLOCK``.
            share: probability of being marked, in ``[0, 1]``.

        Returns:
            float32 ``[width]`` of ones and zeros.
        """
        bits = self._sixteen(key, number, width)
        # Negative where the word is below the threshold; the sign, spread over all bits, cuts out a one.
        bits.sub_(threshold_of(share)).bitwise_right_shift_(31).bitwise_and_(_ONE)
        return bits.view(torch.float32)

    def words(self, key: int, number: int, width: int) -> Tensor:
        """Give the 16 bits of the first parameters of a block, valid until the next call.

        Read as unsigned: they are below ``t``, a number from 0 to ``2^16``, with probability ``t / 2^16``.

        Args:
            key: 64 bits, of the tensor.
            number: of the block in the tensor.
            width: parameters wanted, at most ``BLOCK``.

        Returns:
            int32 ``[width]`` from 0 to ``2^16 - 1``.
        """
        return self._sixteen(key, number, width).add_(STEPS // 2)

    def _sixteen(self, key: int, number: int, width: int) -> Tensor:
        """The 16 bits, read as signed."""
        upper, lower = min(width, _WORDS), max(width - _WORDS, 0)
        words, spare, bits = self._words[:upper], self._spare[:upper], self._bits[:width]
        word = block_key(key, number)
        torch.bitwise_xor(self._counter[:upper], _signed(word), out=words)
        mix(words.add_(_signed(word >> 32)), spare)
        torch.bitwise_right_shift(words, 16, out=bits[:upper])
        if lower:
            torch.bitwise_right_shift(words[:lower].bitwise_left_shift_(16), 16, out=bits[upper:])
        return bits

    def write(self, keys: Sequence[int], shares: Sequence[float], part: slice, rows: Tensor) -> None:
        """Write the masks of several keys for the same parameters.

        Args:
            keys: one a row.
            shares: one a row.
            part: which parameters of the tensor; cheapest where it starts and stops with a block.
            rows: float32 ``[keys, part]``.
        """
        for key, share, row in zip(keys, shares, rows, strict=True):
            for number, width, inside, where in _blocks(part):
                row[where].copy_(self.block(key, number, width, share)[inside])

    def write_words(self, keys: Sequence[int], part: slice, rows: Tensor) -> None:
        """Write the 16 bits of several keys for the same parameters, for shares that differ a parameter.

        Args:
            keys: one a row.
            part: which parameters of the tensor; cheapest where it starts and stops with a block.
            rows: float32 ``[keys, part]``; whole numbers from 0 to ``2^16 - 1``.
        """
        for key, row in zip(keys, rows, strict=True):
            for number, width, inside, where in _blocks(part):
                row[where].copy_(self.words(key, number, width)[inside])


def _blocks(part: slice) -> Iterator[tuple[int, int, slice, slice]]:
    """The blocks of a part: number, parameters up to its end, those wanted of them, their place in it."""
    for number in range(part.start // BLOCK, -(-part.stop // BLOCK)):
        first = number * BLOCK
        start, stop = max(part.start, first), min(part.stop, first + BLOCK)
        yield number, stop - first, slice(start - first, None), slice(start - part.start, stop - part.start)


@lru_cache(maxsize=4)
def masks_on(device: torch.device) -> Masks:
    """The masks of a device: one hashed counter and one piece of scratch memory for all that are made."""
    with torch.inference_mode(False):  # what is kept must be writable outside of it too
        return Masks(device)


def threshold_of(share: float) -> int:
    """What 16 bits, read as signed, are less than with this probability."""
    return round(share * STEPS) - STEPS // 2


def block_key(key: int, number: int) -> int:
    """Hash a tensor's key and a block's number: splitmix64 (Steele et al. 2014, "Fast splittable PRNGs")."""
    word = (key + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def _signed(word: int) -> int:
    """The low 32 bits of a number, read as a signed word."""
    return (word + 2**31) % 2**32 - 2**31
