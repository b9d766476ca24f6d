"""Metrics of one label an example against scikit-learn, and how good they can still become."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from searchmerge.objective.metrics import METRICS, Array, labels
from searchmerge.objective.metrics import metric as blocks
from searchmerge.objective.metrics.labels import MATTHEWS_OF_MANY, confusions
from tests.objective.metrics.checking import check_bound, check_counts

SINGLE = METRICS["single-label"]
REFERENCES = {
    "accuracy": accuracy_score,
    "f1": lambda gold, answers: f1_score(gold, answers, labels=[1], average="macro", zero_division=0),
    "macro_f1": lambda gold, answers: f1_score(gold, answers, average="macro", zero_division=0),
    "matthews": matthews_corrcoef,
}
OF = {"accuracy": labels.accuracy, "f1": labels.f1, "macro_f1": labels.macro_f1, "matthews": labels.matthews}


@st.composite
def answered(draw: st.DrawFn) -> tuple[Array, Array]:
    label = st.integers(0, draw(st.integers(1, 6)))
    gold, answers = np.array(draw(st.lists(st.tuples(label, label), min_size=1, max_size=60))).T
    return gold.astype(np.uint8), answers.astype(np.uint8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn warns of a single label
@pytest.mark.parametrize("name", SINGLE)
@given(answered(), st.integers(0, 2**32))
def test_equals_scikit_learn_also_of_repeated_examples(
    name: str, drawn: tuple[Array, Array], seed: int
) -> None:
    check_counts(SINGLE[name], *drawn, REFERENCES[name], seed)


def test_f1_is_that_of_the_second_label() -> None:
    gold, answers = np.random.default_rng(0).integers(0, 2, (2, 50))
    assert SINGLE["f1"].value(gold, answers) == pytest.approx(f1_score(gold, answers))
    assert SINGLE["f1"].value(1 - gold, answers) == pytest.approx(f1_score(1 - gold, answers))
    assert SINGLE["f1"].value(np.zeros(3, np.uint8), np.zeros(3, np.uint8)) == 0


def test_examples_are_counted_by_truth_and_answer() -> None:
    rng = np.random.default_rng(0)
    (gold, answers), counts = rng.integers(0, 4, (2, 30)), rng.integers(0, 3, (5, 30))
    expected = np.zeros((5, 4, 4))
    for row, example in product(range(5), range(30)):
        expected[row, gold[example], answers[example]] += counts[row, example]
    assert np.array_equal(confusions(gold, answers, counts), expected)


@pytest.mark.parametrize("name", SINGLE)
def test_many_labels_are_counted_in_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    (gold, answers), counts = rng.integers(0, 9, (2, 80)), rng.multinomial(80, [1 / 80] * 80, 50)
    whole = SINGLE[name].of(gold, answers, counts)
    monkeypatch.setattr(blocks, "_ENTRIES", 200)
    assert np.array_equal(SINGLE[name].of(gold, answers, counts), whole)


@pytest.mark.parametrize("name", SINGLE)
def test_range_is_reached(name: str) -> None:
    gold = np.array([0, 0, 1, 1])
    assert SINGLE[name].value(gold, gold) == SINGLE[name].high == SINGLE[name].best
    assert SINGLE[name].value(gold, 1 - gold) == SINGLE[name].low


# How good they can still become.


@pytest.mark.parametrize(
    ("name", "n_labels"), [("matthews", 2), *product(("accuracy", "f1", "macro_f1"), (2, 3, 5))]
)
def test_no_completion_is_better_than_the_bound_and_right_answers_reach_it(name: str, n_labels: int) -> None:
    rng = np.random.default_rng(n_labels)
    for _ in range(400):
        n = int(rng.integers(1, 20))
        gold, answers = rng.integers(0, n_labels, (2, n)).astype(np.uint8)
        seen = rng.random(n) < rng.random()
        guesses = rng.integers(0, n_labels, (5, n)).astype(np.uint8)
        constant = [np.full(n, label, np.uint8) for label in range(n_labels)]
        bound = check_bound(SINGLE[name], gold, answers, seen, [gold, *guesses, *constant])
        assert bound == SINGLE[name].value(gold, np.where(seen, answers, gold))


@pytest.mark.parametrize("n_labels", [3, 4])
def test_of_more_than_two_labels_matthews_can_be_anything_until_all_is_seen(n_labels: int) -> None:
    rng = np.random.default_rng(n_labels)
    gold, answers = rng.integers(0, n_labels, (2, 30))
    seen = np.arange(30) < 29
    assert check_bound(MATTHEWS_OF_MANY, gold, answers, seen, [gold]) == 1.0
    assert MATTHEWS_OF_MANY.bound(gold, answers, np.ones(30, bool)) == pytest.approx(
        matthews_corrcoef(gold, answers)
    )


def matrices(n_labels: int, examples: int) -> np.ndarray:
    """All confusion matrices of so many examples, ``[matrices, labels, labels]``, by stars and bars."""
    cells = n_labels**2
    bars = np.array(list(combinations(range(examples + cells - 1), cells - 1)))
    padded = np.pad(bars, ((0, 0), (1, 0)), constant_values=-1)
    ends = np.append(padded, np.full((len(bars), 1), examples + cells - 1), axis=1)
    return (np.diff(ends, axis=1) - 1).reshape(-1, n_labels, n_labels)


def drops(name: str, n_labels: int, examples: int) -> int:
    """In how many cases a right prediction in the place of a wrong one lowers the metric, to the last bit."""
    before = matrices(n_labels, examples)
    found = 0
    for truth, wrong in product(range(n_labels), repeat=2):
        if truth != wrong:
            chosen = before[before[:, truth, wrong] > 0]
            after = chosen.copy()
            after[:, truth, wrong] -= 1
            after[:, truth, truth] += 1
            found += int((OF[name](after) < OF[name](chosen)).sum())
    return found


def test_all_matrices_are_counted() -> None:
    assert len(matrices(2, 10)) == 286  # C(13, 3)
    assert len(np.unique(matrices(3, 3), axis=0)) == len(matrices(3, 3)) == 165  # C(11, 8)
    assert (matrices(3, 3).sum((1, 2)) == 3).all()


@pytest.mark.parametrize(("n_labels", "most"), [(2, 20), (3, 6), (4, 5)])
@pytest.mark.parametrize("name", ["accuracy", "f1", "macro_f1", "matthews"])
def test_a_right_answer_lowers_no_metric_that_is_bounded_by_right_answers(
    name: str, n_labels: int, most: int
) -> None:
    found = sum(drops(name, n_labels, examples) for examples in range(1, most + 1))
    assert (found > 0) == (name == "matthews" and n_labels > 2)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_with_any_number_of_labels_a_right_answer_lowers_neither(name: str) -> None:
    rng = np.random.default_rng(0)
    for n_labels in (5, 9, 30):
        counts = rng.poisson(rng.uniform(0.1, 20), (500, n_labels, n_labels))
        counts[:, 1, 0] += 1
        after = counts.copy()
        after[:, 1, 0] -= 1
        after[:, 1, 1] += 1
        assert (OF[name](after) >= OF[name](counts)).all()


def test_matthews_of_three_labels_can_be_raised_by_wrong_answers() -> None:
    """Eleven more of label 1, told from one of 0 and fourteen of 1 that were taken for 2."""
    gold = np.array([0] + [1] * 25)
    wrong, right = np.array([0] + [2] * 25), np.array([0] + [2] * 14 + [1] * 11)
    seen = np.arange(26) < 15
    scores = [MATTHEWS_OF_MANY.value(gold, answers) for answers in (wrong, right)]
    assert scores == pytest.approx([matthews_corrcoef(gold, answers) for answers in (wrong, right)])
    assert scores[0] > scores[1] + 0.2
    assert MATTHEWS_OF_MANY.bound(gold, wrong, seen) == 1.0
