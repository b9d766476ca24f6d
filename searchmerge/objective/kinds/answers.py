"""How a written answer is compared with the right one: scores in ``[0, 1]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from types import MappingProxyType
from typing import Any

_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?|-?\$?\.\d+")


def exact_match(written: str, right: str) -> float:
    """Whether they are the same, apart from white space around them."""
    return float(written.strip() == right.strip())


def numeric(written: str, right: str) -> float:
    """Whether the last number written is the right answer's last number.

    As GSM8K's ``#### 1,234`` and MGSM's plain numbers are scored after a chain of thought: commas, a currency
    sign and a full stop at the end do not count, ``18`` and ``18.00`` are the same number.
    """
    found, wanted = last_number(written), last_number(right)
    return float(found is not None and found == wanted)


def last_number(text: str) -> Decimal | None:
    """The last number in a text; what stands after ``####`` goes before what stands elsewhere."""
    marked = text.rpartition("####")[2] if "####" in text else text
    numbers = _NUMBER.findall(marked) or _NUMBER.findall(text)
    if not numbers:
        return None
    try:
        return Decimal(numbers[-1].replace(",", "").replace("$", ""))
    except InvalidOperation:
        return None


def rouge_l(written: str, right: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004), stemmed, as ``rouge_score`` has it."""
    return float(_scorer().score(right, written)["rougeL"].fmeasure)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # imports nltk

    return RougeScorer(["rougeL"], use_stemmer=True)


SCORERS: Mapping[str, Callable[[str, str], float]] = MappingProxyType(
    {"exact_match": exact_match, "numeric": numeric, "rouge_l": rouge_l}
)
"""Every comparison by the name of its metric: ``(written, right)``."""
