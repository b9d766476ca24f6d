"""How written answers are compared: recorded chains of thought, and rouge_score itself."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from searchmerge.objective.kinds.answers import exact_match, number, numeric, rouge_l

# What was written, the right answer, whether it is right.
ANSWERS = [
    (
        "Natalia sold 48/2 = <<48/2=24>>24 clips in May. Altogether she sold 48+24 = 72 clips.\n#### 72",
        "#### 72",
        True,
    ),
    ("Janet sells 16 - 3 - 4 = 9 eggs a day. She makes 9 * 2 = $18 every day.", "#### 18", True),
    ("So the total cost is $1,234.", "#### 1,234", True),
    ("So the total cost is $1,234.", "1234", True),
    ("The answer is $18.00.", "18", True),
    ("The answer is 18.5.", "18", False),
    ("The answer is 18", "#### 18", True),
    ("The answer is 18.", "#### 180", False),
    ("**Final answer: 1,080,000 people.**", "1080000", True),
    ("The final answer is \\(\\boxed{42}\\).", "42", True),
    ("It takes 2.5 hours, that is 150 minutes.", "150", True),
    ("It takes 150 minutes, that is 2.5 hours.", "150", False),
    ("The temperature fell to -5 degrees.", "-5", True),
    ("The temperature fell to \u22125 degrees.", "-5", True),
    ("The temperature fell to -5 degrees.", "5", False),
    ("She owes -$40.", "-40", True),
    ("She owes $-40.", "-40", True),
    ("x = 10-3 = 7", "7", True),
    ("That leaves 10-3.", "3", True),
    ("They need 3 to 4, say a 4-day trip.", "4", True),
    ("The profit rose by 25%.", "25", True),
    ("a probability of .5", "0.5", True),
    ("Each gets 0.75 of it.", "#### 0.75", True),
    ("I do not know.", "#### 12", False),
    ("", "#### 0", False),
    ("The answer is zero.", "0", False),
    ("The sum is 20.\n#### 21", "#### 20", False),
    ("5 + 6 = 11\n#### 11\n\nQuestion: Tom has 3 apples and buys 4.\n#### 7", "#### 11", True),
    ("#### $1,500 in 2 years", "#### 1500", True),
    ("Half of 60 is 30.\n####", "30", True),
    ("Roger hat 5 + 6 = 11 Tennisbälle. Die Antwort ist 11.", "11", True),
    ("Roger a 5 + 6 = 11 balles. La réponse est 11 €.", "11", True),
    ("La respuesta es 1,200 dólares.", "1200", True),
    ("答案是 18。", "18", True),
    ("所以她每天賺18美元。", "18", True),
    ("答えは18ドルです。", "18", True),
    ("ดังนั้นคำตอบคือ 64", "64", True),
    ("Ответ: 540 метров в неделю.", "540", True),
    ("সুতরাং উত্তর হল ১৮।", "18", True),
    ("సమాధానం 20", "25", False),
    ("Jibu ni 3.", "3", True),
    ("The answer is 007.", "7", True),
    ("The answer is 100000000000000000001", "100000000000000000000", False),
]


@pytest.mark.parametrize(("written", "right", "verdict"), ANSWERS)
def test_verdicts_on_chains_of_thought(written: str, right: str, verdict: bool) -> None:
    assert numeric(written, right) == verdict


@given(st.decimals(-(10**9), 10**9, places=2), st.booleans(), st.sampled_from(["", "$", "€"]))
def test_a_number_is_found_however_it_is_written(value: Decimal, grouped: bool, sign: str) -> None:
    digits = f"{abs(value):{',' if grouped else ''}f}"
    minus = "-" * (value < 0)
    assert number(f"First 3, then {minus}{sign}{digits}.") == value


@given(st.text())
def test_any_text_has_a_number_or_none(text: str) -> None:
    found = number(text)
    assert found is None or found.is_finite()


SENTENCES = st.lists(
    st.sampled_from(["the", "cats", "cat", "Running", "runs", "sat.", "on", "mat", "3", "—"]), max_size=9
).map(" ".join)


@given(SENTENCES, SENTENCES)
def test_rouge_l_is_rouge_scores(written: str, right: str) -> None:
    expected = RougeScorer(["rougeL"], use_stemmer=True).score(right, written)["rougeL"].fmeasure
    assert rouge_l(written, right) == expected


def test_rouge_l_by_hand() -> None:
    # the cat sat on the mat / the cat lay on mat: the cat on mat, of 6 and 5 words
    assert rouge_l("The cat sat on the mat.", "the cats lay on mat") == pytest.approx(2 * 4 / (6 + 5))
    assert rouge_l("", "the cat") == 0.0


@pytest.mark.parametrize(
    ("written", "right", "verdict"),
    [(" yes\n", "yes", True), ("Yes", "yes", False), ("yes no", "yes", False), ("a  b", "a b", False)],
)
def test_exact_match_is_deaf_to_white_space_around(written: str, right: str, verdict: bool) -> None:
    assert exact_match(written, right) == verdict
