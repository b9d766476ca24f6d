from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path as Folder
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from searchmerge.report import card, figures, path_figure
from searchmerge.report.path import Path, described, legend, method_of, paths
from searchmerge.report.run import Run, as_json
from searchmerge.report.table import headline, tabulate
from searchmerge.types import Trial
from tests.report.runs import recipe as coefficients
from tests.report.runs import result, run_folder, trials
from tests.report.test_card import recipe_file
from tests.report.test_report import HOSTILE, Reader, written

EXPERTS = ("reviews", "tweets")
PS, TWEETS = "ps", "tweets"
WINNER: list[list[Any]] = [[PS, 0], [PS, 1], [TWEETS, 2, 0.97], [TWEETS, 3], [PS, 1, 1.2], [PS, 5]]
BEFORE = {
    "ps": {
        "strategy": "cmaes",
        "space": "coefficients",
        "budget": {"evaluations": 45},
        "evaluations": 43,
        "repeats": 2,
        "rejected": 1,
        "failures": 4,
        "stopped": "45 evaluations are spent",
        "trial": 31,
    }
}


def recipe(*decoder: list[Any], rest: str = "ps", **stacks: list[list[Any]]) -> dict[str, Any]:
    stages = {"ps": coefficients()} if rest == "ps" else {}
    return {"space": "paths", "rest": rest, "stacks": {"decoder": [*decoder], **stacks}, "stages": stages}


def made(*winner: list[Any], rest: str = "ps", depth: int = 6) -> list[Trial]:
    """A run of two trials: the default, which is ``rest`` as it is, then the winner."""
    untouched, found = trials([0.5, 0.625])
    whole = [[rest, index] for index in range(depth)]
    return [
        replace(untouched, recipe=recipe(*whole, rest=rest, encoder=whole)),
        replace(found, recipe=recipe(*winner, rest=rest, encoder=whole)),
    ]


def outcome(**more: Any) -> dict[str, Any]:
    found = {**result(EXPERTS, trial=1), "space": "paths", "before": BEFORE, **more}
    found["baselines"]["search ps"] = found["baselines"]["average"]
    return found


def page(folder: Folder, *winner: list[Any], **more: Any) -> Reader:
    return written(run_folder(folder, made(*winner), outcome(**more), EXPERTS))


def path(*winner: list[Any], rest: str = "ps", depth: int = 6) -> Path:
    return paths(made(*winner, rest=rest, depth=depth)[1].recipe, made(*winner, rest=rest, depth=depth))[0]


def layers(texts: str) -> list[tuple[str, int, float]]:
    """The steps that words tell, read back."""
    steps: list[tuple[str, int, float]] = []
    for factor, source, first, last in re.findall(r"(?:\(× ([\d.]+)\) )?(\w+) (\d+)(?:–(\d+))?", texts):
        numbers = range(int(first), int(last or first) + 1)
        steps += [(source, n, float(factor) if factor and n == numbers[0] else 1.0) for n in numbers]
    return steps


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 7), st.sampled_from([1.0, 1.0, 0.97, 1.234567])).map(
        lambda step: list(step) if step[2] != 1 else list(step[:2])
    ),
    min_size=1,
    max_size=40,
)


@given(STEPS)
def test_words_tell_the_whole_path(steps: list[list[Any]]) -> None:
    found = path(*steps, rest="a", depth=8)
    assert layers(found.words) == [(*step, 1.0)[:3] for step in steps]


@given(STEPS)
def test_links_repeats_and_uses_are_what_a_loop_counts(steps: list[list[Any]]) -> None:
    found = path(*steps, rest="a", depth=8)
    before: Any = ("a", -1)
    expected, again, uses = [], [], [0] * 8
    seen = set()
    for source, index, *_ in [*steps, ["a", 8]]:
        near = index == before[1] + 1
        expected.append(("next" if source == before[0] else "across") if near else "jump")
        before = (source, index)
    for source, index, *_ in steps:
        again.append((source, index) in seen)
        seen.add((source, index))
        uses[index] += source == "a"
    assert (found.links, found.again, found.uses) == (tuple(expected), tuple(again), tuple(uses))


@pytest.mark.parametrize(
    ("winner", "said"),
    [
        ([["ps", 0], ["ps", 4], ["ps", 5]], "Left out of ps: 1–3."),
        ([["ps", 1], ["ps", 3], ["ps", 4]], "Left out of ps: 0, 2, 5."),
        (WINNER, "Left out of ps: 2–4. More than once: 1 (2 times)."),
        ([["ps", n] for n in (0, 1, 2, 3, 4, 5, 5, 5)], "More than once: 5 (3 times)."),
        ([["ps", n] for n in range(6)], ""),
    ],
)
def test_what_is_left_out_or_repeated_is_said(winner: list[list[Any]], said: str) -> None:
    assert path(*winner).omissions == said


def texts(drawn: Any) -> list[str]:
    return [text.get_text() for text in drawn.axes[0].texts]


@pytest.mark.parametrize("width", [figures.WIDE, figures.NARROW])
@pytest.mark.parametrize("count", [1, 6, 24, 60])
def test_each_step_has_a_box_with_its_number_in_its_lane(count: int, width: int) -> None:
    generator = np.random.default_rng(count)
    steps = [["abcd"[generator.integers(4)], int(generator.integers(32)), 0.97] for _ in range(count)]
    found = path(*steps, rest="a", depth=32)
    drawn = path_figure.draw(found, width=width)
    boxes = [box.get_bbox() for box in drawn.axes[0].patches if isinstance(box, Rectangle)][:count]
    inside = [
        (text.get_text(), n)
        for text in drawn.axes[0].texts
        for n, box in enumerate(boxes)
        if box.contains(*text.get_position())
    ]
    assert inside == [(str(index), n) for n, (_, index, _) in enumerate(steps)]
    wide = width > figures.NARROW
    high = 28 * len(found.sources) + 46
    lanes = [(box.y0 + box.y1) / 2 % high if wide else (box.x0 + box.x1) / 2 for box in boxes]
    order = sorted({*lanes})
    assert [order.index(lane) for lane in lanes] == [
        sorted({found.sources.index(source) for source, *_ in steps}).index(found.sources.index(source))
        for source, *_ in steps
    ]
    assert texts(drawn).count("0.97") == count
    size = drawn.get_size_inches() * figures.INCH
    assert all(box.x0 >= 0 and box.x1 <= size[0] and box.y0 >= 0 and box.y1 <= size[1] for box in boxes)


@pytest.mark.parametrize("width", [figures.WIDE, figures.NARROW])
@pytest.mark.parametrize(("count", "sources"), [(24, "abcd"), (60, "ab"), (60, "abcdefgh")])
def test_texts_do_not_overlap(count: int, sources: str, width: int) -> None:
    generator = np.random.default_rng(count)
    steps = [
        [sources[generator.integers(len(sources))], int(generator.integers(32)), 1.21] for _ in range(count)
    ]
    drawn = path_figure.draw(path(*steps, rest="a", depth=32), width=width)
    drawn.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in drawn.axes[0].texts), key=lambda box: box.x0)
    assert not [
        (one, other)
        for n, one in enumerate(boxes)
        for other in boxes[:n]
        if one.padded(4, -2).overlaps(other)
    ]


def test_repeats_are_hollow_and_jumps_have_their_colour() -> None:
    drawn = path_figure.draw(path(*WINNER))
    hollow = [
        to_hex(box.get_facecolor()) == figures.LIGHT["paper"] for box in drawn.axes[0].patches[: len(WINNER)]
    ]
    assert hollow == [False, False, False, False, True, False]
    colours = [line.get_color() for line in drawn.axes[0].lines if line.get_zorder() == 1]
    names = ["muted", "muted", "ink", "accent", "minus", "minus", "muted"]
    assert colours == [figures.LIGHT[name] for name in names]


def test_the_layers_that_are_left_out_have_no_box() -> None:
    drawn = path_figure.draw(path(*WINNER))
    assert len(drawn.axes[0].patches) == len(WINNER) + 3  # layers 0, 1 and 5 of ps are on it
    assert "×2" in texts(drawn)
    whole = path_figure.draw(path(*([["ps", n] for n in range(6)])))
    assert len(whole.axes[0].patches) == 6
    assert not any(text.startswith("all layers") for text in texts(whole))


@pytest.mark.parametrize("name", ["日本語", "$\\frac{$", "<b>&", "x" * 200])
def test_any_name_can_be_drawn_in_the_pages_colours(name: str) -> None:
    found = path([name, 0], ["b", 1], [name, 1, 0.5], rest=name)
    for width in (figures.WIDE, figures.NARROW):
        drawn = figures.svg(path_figure.draw(found, width=width), found.words)
        assert not re.search(r"#[0-9a-f]{6}\b", drawn)


def test_the_page_shows_a_path_a_stack_and_says_it_in_words(tmp_path: Folder) -> None:
    shown = page(tmp_path, *WINNER)
    labels = [attributes.get("aria-label") for tag, attributes in shown.tags if tag == "svg"]
    words = "ps 0–1, (× 0.97) tweets 2–3, (× 1.2) ps 1, ps 5"
    assert labels.count(f"Path through decoder: {words}") == 2
    assert labels.count("Path through encoder: ps 0–5") == 2
    assert words in shown.text
    text = re.sub(r"\s+", " ", shown.text)
    assert "The path of the winner" in text
    assert "It has 6 layers in decoder (4 of ps, 2 of tweets) and 6 layers in encoder (6 of ps)." in text
    assert "ps is the winner of the search ps, merged by ties." in text
    assert "Left out of ps: 2–4. More than once: 1 (2 times)." in text
    for word in ("coefficients of the winner", "family tree", "default of the space"):
        assert word not in text


def test_the_page_tells_of_earlier_searches(tmp_path: Folder) -> None:
    text = re.sub(r"\s+", " ", page(tmp_path, *WINNER).text)
    assert "Searches before it" in text
    assert "ps cmaes over coefficients 43 2 1 4 31 45 evaluations are spent" in text
    assert text.count("winner of the search ps") >= 3  # both tables, and whose winner it is
    (tmp_path / "none").mkdir()
    alone = written(run_folder(tmp_path / "none", trials([0.5, 0.625]), result(trial=1)))
    assert "earlier" not in alone.text
    assert "Searches before it" not in alone.text


def test_a_run_that_goes_on_shows_the_best_path_so_far(tmp_path: Folder) -> None:
    shown = written(run_folder(tmp_path, made(*WINNER), None, EXPERTS))
    assert "The path of the best so far" in shown.text
    assert "(× 0.97) tweets 2–3" in shown.text


def test_hostile_names_of_sources_are_only_text(tmp_path: Folder) -> None:
    steps = [[HOSTILE, 0], ["tweets", 1, 1.1]]
    shown = written(run_folder(tmp_path, made(*steps, rest=HOSTILE), outcome(), EXPERTS))
    assert "script" not in {tag for tag, _ in shown.tags}
    assert HOSTILE in shown.text


def test_a_legend_names_only_what_is_there() -> None:
    whole = " ".join(legend([path(*[["ps", n] for n in range(6)])]))
    for word in ("Blue", "empty", "thin", "dashed", "factor"):
        assert word not in whole
        assert word in " ".join(legend([path(*WINNER)]))


def test_the_default_of_paths_is_the_rest_untouched() -> None:
    alone = made(*WINNER)
    assert figures.dev_lines(Run({}, tuple(alone), None)) == {"ps untouched": 0.5}
    lines = figures.dev_lines(Run({}, tuple(alone), outcome()))
    assert "search ps" in lines  # the same model
    assert "ps untouched" not in lines
    assert "default" not in lines
    other = made(*WINNER, rest="reviews")
    assert figures.dev_lines(Run({}, tuple(other), outcome()))["reviews untouched"] == 0.5


def test_winners_of_earlier_searches_are_named_in_table_and_headline() -> None:
    found = outcome()
    assert [row.label for row in tabulate(found).rows].count("winner of the search ps") == 1
    best = {"score": 0.99, "low": 0.98, "high": 1.0, "tasks": {}}
    found["baselines"]["search ps"] = {**found["baselines"]["ties"], "test": best}
    assert "The winner of the search ps scores more: 0.990 [0.980, 1.000]." in headline(found)
    ties, ours = found["baselines"]["ties"], found["baselines"]["search ps"]
    found["baselines"]["ties"] = {**ours, "test": {**best, "score": 0.995}}
    assert "Without a search default TIES scores more: 0.995" in headline(found)
    found["baselines"]["ties"] = ties
    found["baselines"]["search it"] = found["baselines"].pop("search ps")  # a reference of that name
    assert "Without a search search it scores more" in headline(found)


def test_a_step_of_a_recipe_is_on_a_line_and_reads_as_it_was(tmp_path: Folder) -> None:
    odd = recipe(["a] [\n ,b", 0, 0.5], ["{", 1], rest="a\n")
    assert json.loads(as_json(odd)) == odd
    assert '["tweets", 2, 0.97],\n' in page(tmp_path, *WINNER).text


FILE = recipe_file(reviews=("org/reviews", None), tweets=("org/tweets", None))


def test_the_card_says_of_whose_layers_a_path_is_made() -> None:
    text = card.text({**FILE, "recipe": recipe(*WINNER)}, outcome())
    assert "A merge of fine-tuned models, made by searchmerge 0.1.0." in text
    assert "It has 6 layers in decoder (4 of ps, 2 of tweets)." in text
    assert "Embeddings, head and all else that is no layer are of ps." in text
    assert "The inputs of 2 layers are scaled; the factors are folded into the weights." in text
    assert "arxiv.org/abs/2403.13187" in text
    assert re.search(r"ps is the winner of an earlier search, merged by ties: .*2306\.01708", text)
    assert "The path was found on dev by the strategy `de` in 38 evaluations (seed 7)." in text
    assert "coefficients were" not in text
    plain = card.text({**FILE, "recipe": recipe(["reviews", 0], rest="reviews")})
    assert "It has 1 layer in decoder (1 of reviews)." in plain
    assert "No input is scaled." in plain
    assert "earlier search" not in plain


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"space": "coefficients", "method": "dare_ties"}, "merged by dare_ties"),
        ({"space": "population", "merge": None}, "crossed from whole models"),
        (
            {"space": "population", "merge": {"method": "linear"}},
            "crossed from whole models, then merged by linear",
        ),
        ({"space": "elsewhere"}, "from the space elsewhere"),
    ],
)
def test_the_winner_of_any_space_can_be_a_source(stage: dict[str, Any], said: str) -> None:
    assert method_of(stage) == said
    text = card.text({**FILE, "recipe": {**recipe(*WINNER), "stages": {"ps": stage}}})
    assert "ps is the winner of an earlier search, " + said.replace("_", "\\_") in text


def test_factors_are_counted_over_all_stacks() -> None:
    found = recipe(*WINNER, encoder=[["ps", 0, 0.9]])
    assert "The inputs of 3 layers are scaled" in described(found)


def test_a_source_is_as_deep_as_the_default_shows() -> None:
    assert path(["ps", 0], depth=9).depth == 9
    assert paths(recipe(["ps", 3]), [])[0].depth == 4  # of a recipe alone no more is known
