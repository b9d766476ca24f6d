"""The Brown corpus as tagged sentences, by genre; texts stay whole when they are split."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchmerge.demo.texts import SPLITS, Split
from searchmerge.files import write_text

GENRES = {"news": "a", "hobbies": "e", "learned": "j", "romance": "p"}
"""The demo's genres and the letter that the corpus gives them."""

SIZES: Mapping[Split, int] = {"train": 1500, "dev": 100, "test": 300}
SHARES: Mapping[Split, float] = {"train": 0.65, "dev": 0.15, "test": 0.2}
"""Of a genre's texts, of which each holds a hundred sentences or so."""

LENGTHS = range(4, 41)
"""Words in a sentence that the demo takes: neither a headline's two nor more than a tagger reads."""

_UNIVERSAL = {
    "ADJ": "jj jjr jjs jjt ap od",
    "ADP": "in cs",
    "ADV": "rb rbr rbt rn ql qlp wrb wql *",
    "CONJ": "cc",
    "DET": "at dt dti dts dtx abn abl abx wdt",
    "NOUN": "nn nns np nps nr nrs",
    "NUM": "cd",
    "PRON": "pn pp pps ppss ppo ppl ppls wp wps wpo",
    "PRT": "to rp ex uh",
    "VERB": "vb vbd vbg vbn vbz md be bed bedz beg bem ben ber bez do dod doz hv hvd hvg hvn hvz",
    ".": ". , : ( ) '' `` ' --",
}
_BY_STEM = {stem: tag for tag, stems in _UNIVERSAL.items() for stem in stems.split()}

TAGS = (*_UNIVERSAL, "X")
"""The 12 universal tags (Petrov, Das & McDonald, 2012); X: foreign words and what bears no tag of use."""


@dataclass(frozen=True)
class Sentence:
    """A word, number or sign each with its universal tag."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


def universal(tag: str) -> str:
    """Turn a tag of Brown, such as `nn-tl`, `ppss+bem` or `fw-jj`, into a universal one.

    A contraction counts as its first word; the marks of titles, headlines, cited words (`-tl`, `-hl`, `-nc`),
    of the genitive (`$`) and of a contracted not (`*`) are left out.
    """
    first = re.sub("-(tl|hl|nc)", "", tag).partition("+")[0]
    # `*` alone is the word not, with a tag of its own.
    return _BY_STEM.get(first) or _BY_STEM.get(first.rstrip("$*"), "X")


def parse(lines: Iterable[str]) -> Iterator[Sentence]:
    """Read a text of the corpus: a sentence a line, each token `word/tag`."""
    for line in lines:
        if pairs := [token.rpartition("/") for token in line.split()]:
            yield Sentence(tuple(word for word, _, _ in pairs), tuple(universal(tag) for *_, tag in pairs))


def draw(texts: Iterable[Iterable[Sentence]], rng: np.random.Generator) -> dict[Split, list[Sentence]]:
    """Deal a genre's texts out by `SHARES`, then take `SIZES` sentences from each pile.

    A sentence that stood in a pile before, case apart, is left out, so that none stands in two splits.
    """
    whole = [list(text) for text in texts]
    order = rng.permutation(len(whole))
    ends = np.rint(np.cumsum([SHARES[name] for name in SPLITS]) * len(whole)).astype(int)
    seen: set[tuple[str, ...]] = set()
    drawn: dict[Split, list[Sentence]] = {}
    for name, pile in zip(SPLITS, np.split(order, ends[:-1]), strict=True):
        fresh = []
        for sentence in (sentence for text in pile for sentence in whole[text]):
            key = tuple(token.lower() for token in sentence.tokens)
            if len(key) in LENGTHS and key not in seen:
                seen.add(key)
                fresh.append(sentence)
        drawn[name] = [fresh[i] for i in rng.permutation(len(fresh))[: SIZES[name]]]
    return drawn


def write(folder: Path, out: Path, seed: int = 0) -> None:
    """Write `out/GENRE.SPLIT.jsonl` (fields `tokens`, `tags`) from the corpus' files in `folder`."""
    out.mkdir(parents=True, exist_ok=True)
    for number, (genre, letter) in enumerate(GENRES.items()):
        texts = [parse(path.read_text("utf-8").splitlines()) for path in sorted(folder.glob(f"c{letter}*"))]
        for name, sentences in draw(texts, np.random.default_rng([seed, number])).items():
            rows = (json.dumps({"tokens": s.tokens, "tags": s.tags}, ensure_ascii=False) for s in sentences)
            write_text(out / f"{genre}.{name}.jsonl", "".join(row + "\n" for row in rows))
