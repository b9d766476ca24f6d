"""The demo's texts: read from their sources, labelled, cut, split without leaks, written as JSON lines.

`tasks`: four different jobs, each with labels of its own. `domains`: one job (sentiment) on four kinds of
text. `writing`: two kinds of text to be continued and labelled. `answers`: three yes-or-no questions.
What the sources are and under which licence: `searchmerge.demo.sources`.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from searchmerge.demo.sources import EVALS, ORANGE, VADER
from searchmerge.files import write_text

Case = Literal["tasks", "domains", "writing", "answers"]
Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

VADER_MARGIN = 0.5
"""Smallest |mean rating| (scale -4 to 4) that counts as an opinion: one half of the raters' smallest step.

A mean nearer to zero rounds to the raters' "neutral", so its sign says more about the raters than the text.
"""


@dataclass(frozen=True)
class Example:
    """One labelled text.

    Args:
        group: what it belongs to, e.g. a document; the texts of one group never part.
        held_out: whether its source counts it to the test split.
    """

    text: str
    label: str
    group: str
    held_out: bool = False


Reader = Callable[[Mapping[str, Path]], Iterator[Example]]
"""Reads a source from the folders that `fetch` gives."""


@dataclass(frozen=True)
class Task:
    """What the demo takes for one task: where from, and how many texts of at most how many words."""

    name: str
    read: Reader
    words: int
    sizes: Mapping[Split, int]


def parse_vader(lines: Iterable[str], *, documents: bool, domain: str = "") -> Iterator[Example]:
    """Read a `*_GroundTruth.txt` of VADER: id, mean rating and text, tab-separated (Hutto & Gilbert, 2014).

    The label is the sign of the mean rating; texts within `VADER_MARGIN` of zero are left out. With
    `documents`, the id is `document_sentence`, and the document is the group.
    """
    for line in lines:
        if not line.strip():
            continue
        ident, rating, text = line.rstrip("\r\n").split("\t", 2)
        score = float(rating)
        if abs(score) >= VADER_MARGIN:
            group = f"{domain}:{ident.rsplit('_', 1)[0] if documents else ident}"
            yield Example(text, "positive" if score > 0 else "negative", group)


def parse_tab(lines: Iterable[str], *, held_out: bool) -> Iterator[Example]:
    """Read an Orange `.tab` file of category and text: three header lines, tabs, no quoting."""
    for number, line in enumerate(lines):
        if number >= 3 and line.strip():
            label, text = line.rstrip("\r\n").split("\t", 1)
            yield Example(text, label, f"{held_out}:{number}", held_out)


def parse_sarcasm(lines: Iterable[str]) -> Iterator[Example]:
    """Read the evals registry's `sarcasm/samples.jsonl`: a headline as last message, `ideal` "1" or "0"."""
    for number, line in enumerate(lines):
        if line.strip():
            row = json.loads(line)
            label = "sarcastic" if row["ideal"] == "1" else "plain"
            yield Example(row["input"][-1]["content"], label, str(number))


def _vader(*domains: str) -> Reader:
    def read(folders: Mapping[str, Path]) -> Iterator[Example]:
        with tarfile.open(folders[VADER] / "hutto_ICWSM_2014.tar.gz") as archive:
            for domain in domains:
                member = archive.extractfile(f"hutto_ICWSM_2014/{domain}_GroundTruth.txt")
                assert member is not None  # a plain file of an archive whose hash was checked
                lines = member.read().decode("latin-1").split("\n")
                documents = domain in ("amazonReviewSnippets", "nytEditorialSnippets")
                yield from parse_vader(lines, documents=documents, domain=domain)

    return read


def _tab(stem: str) -> Reader:
    def read(folders: Mapping[str, Path]) -> Iterator[Example]:
        for part in ("train", "test"):
            path = folders[ORANGE] / f"{stem}-{part}.tab"
            yield from parse_tab(path.read_text("utf-8").split("\n"), held_out=part == "test")

    return read


def _sarcasm(folders: Mapping[str, Path]) -> Iterator[Example]:
    return parse_sarcasm((folders[EVALS] / "samples.jsonl").read_text("utf-8").split("\n"))


def _of_film(folders: Mapping[str, Path]) -> Iterator[Example]:
    """VADER's film reviews and its tweets; the label says which (its other texts are of few documents)."""
    for one in _vader("movieReviewSnippets", "tweets")(folders):
        yield replace(one, label="film" if one.group.startswith("movieReview") else "other")


def _asked(read: Reader, about: str) -> Reader:
    """Turn the labels of `read` into the answers to whether a text's label is `about`."""

    def answered(folders: Mapping[str, Path]) -> Iterator[Example]:
        return (replace(one, label="yes" if one.label == about else "no") for one in read(folders))

    return answered


def _sizes(train: int, dev: int, test: int) -> Mapping[Split, int]:
    return {"train": train, "dev": dev, "test": test}


CASES: Mapping[Case, tuple[Task, ...]] = {
    "tasks": (
        Task("sentiment", _vader("movieReviewSnippets", "tweets"), words=18, sizes=_sizes(3000, 150, 400)),
        Task("topic", _tab("reuters-r8"), words=14, sizes=_sizes(1500, 150, 400)),
        Task("newsgroup", _tab("20newsgroups"), words=18, sizes=_sizes(3000, 150, 400)),
        Task("sarcasm", _sarcasm, words=16, sizes=_sizes(4000, 150, 400)),
    ),
    "domains": (
        Task("amazon", _vader("amazonReviewSnippets"), words=24, sizes=_sizes(1500, 150, 400)),
        Task("movies", _vader("movieReviewSnippets"), words=24, sizes=_sizes(1500, 150, 400)),
        Task("nyt", _vader("nytEditorialSnippets"), words=24, sizes=_sizes(1500, 150, 400)),
        Task("tweets", _vader("tweets"), words=24, sizes=_sizes(1500, 150, 400)),
    ),
    "writing": (
        Task("reviews", _vader("movieReviewSnippets"), words=24, sizes=_sizes(1200, 60, 150)),
        Task("news", _tab("reuters-r8"), words=30, sizes=_sizes(1200, 60, 150)),
    ),
    "answers": (
        Task("film", _asked(_of_film, "film"), words=18, sizes=_sizes(8000, 150, 400)),
        Task("earnings", _asked(_tab("reuters-r8"), "earn"), words=16, sizes=_sizes(4000, 150, 400)),
        Task("sarcasm", _asked(_sarcasm, "sarcastic"), words=16, sizes=_sizes(8000, 150, 400)),
    ),
}

PACKAGES: Mapping[Case, tuple[str, ...]] = {
    "tasks": (VADER, ORANGE, EVALS),
    "domains": (VADER,),
    "writing": (VADER, ORANGE),
    "answers": (VADER, ORANGE, EVALS),
}
"""Where the texts of each case come from."""


def posts(folders: Mapping[str, Path], words: int = 18) -> list[Example]:
    """Return the newsgroup posts of the official training split, cleaned, labelled with their groups."""
    return [one for one in clean(_tab("20newsgroups")(folders), words) if not one.held_out]


def clean(examples: Iterable[Example], words: int) -> list[Example]:
    """Cut each text to its first `words` words and keep one of each text (case and spacing apart).

    Official test texts come first: one that stands in both official splits stays in the test split.
    """
    kept: dict[str, Example] = {}
    for example in sorted(examples, key=lambda example: not example.held_out):
        text = " ".join(example.text.split(maxsplit=words)[:words])
        if text:
            kept.setdefault(text.lower(), Example(text, example.label, example.group, example.held_out))
    return list(kept.values())


def split(
    examples: Sequence[Example], sizes: Mapping[Split, int], rng: np.random.Generator
) -> dict[Split, list[Example]]:
    """Draw the splits; groups stay whole, and an official test split is what dev and test texts come from.

    Dev has to be like test: official splits are of different times, and the texts of one time have more in
    common with each other than with later ones. Groups are shuffled, then fill test, dev and train in this
    order; what is over the size is left out. A split is smaller than asked where the texts run out.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    whole = list(groups.values())
    shuffled = [whole[i] for i in rng.permutation(len(whole))]
    official = any(example.held_out for example in examples)
    drawn: dict[Split, list[Example]] = {"test": [], "dev": [], "train": []}
    for group in shuffled:
        for name, texts in drawn.items():
            if len(texts) < sizes[name] and (not official or group[0].held_out == (name != "train")):
                texts.extend(group)
                break
    return {name: drawn[name][: sizes[name]] for name in SPLITS}


def write(case: Case, folders: Mapping[str, Path], out: Path, seed: int = 0) -> None:
    """Write `out/TASK.SPLIT.jsonl` (fields `text`, `label`) of each task; `folders` as from `fetch`."""
    out.mkdir(parents=True, exist_ok=True)
    for number, task in enumerate(CASES[case]):
        rng = np.random.default_rng([seed, number])
        for name, examples in split(clean(task.read(folders), task.words), task.sizes, rng).items():
            rows = (json.dumps({"text": e.text, "label": e.label}, ensure_ascii=False) for e in examples)
            write_text(out / f"{task.name}.{name}.jsonl", "".join(row + "\n" for row in rows))
