"""How a written answer is compared with the right one: scores in ``[0, 1]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import Any

_NUMBER = re.compile(r"(?:(?<![\w)])[-\u2212])?[$€£¥]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
"""With a minus only where it is none between two numbers or words."""

_NO_PART = str.maketrans("", "", ",$€£¥")


def exact_match(written: str, right: str) -> float:
    """Whether they are the same, apart from white space around them."""
    return float(written.strip() == right.strip())


def numeric(written: str, right: str) -> float:
    """Whether the number that was written is the right one, as :func:`number` finds them.

    As GSM8K's ``#### 1,234`` and MGSM's plain numbers are scored after a chain of thought: ``18`` and
    ``18.00`` are the same number.
    """
    found = number(written)
    return float(found is not None and found == number(right))


def number(text: str) -> Decimal | None:
    """The first number after ``####``, else the last one of a text, in any script's decimal digits.

    Commas set off thousands; currency signs, units and a full stop at the end do not count.
    """
    marked = _NUMBER.findall(text.partition("####")[2])
    found = marked[:1] or _NUMBER.findall(text)[-1:]
    return Decimal(found[0].replace("\u2212", "-").translate(_NO_PART)) if found else None


def rouge_l(written: str, right: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004), stemmed, as ``rouge_score`` has it.

    Its words are made of the letters a to z and digits: texts in other scripts score 0.
    """
    return float(_scorer().score(right, written)["rougeL"].fmeasure)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # imports nltk

    return RougeScorer(["rougeL"], use_stemmer=True)


SCORERS: Mapping[str, Callable[[str, str], float]] = MappingProxyType(
    {"exact_match": exact_match, "numeric": numeric, "rouge_l": rouge_l}
)
"""Every comparison by the name of its metric: ``(written, right)``."""
