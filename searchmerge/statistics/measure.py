"""One model's statistics, measured on texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor

from searchmerge.config import Source, Statistics
from searchmerge.objective import fields
from searchmerge.objective.batching import BATCH_TOKENS, Batches, Track, pack
from searchmerge.objective.data import read
from searchmerge.objective.tokens import padding, tokenised
from searchmerge.skeleton import as_saved
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.statistics.files import About, Kind, Statistic
from searchmerge.statistics.fisher import fisher
from searchmerge.statistics.gram import grams, products_in
from searchmerge.types import UserError


@dataclass(frozen=True)
class Texts:
    """A model's texts, ready on the device.

    Args:
        batches: the tokenised texts.
        gold: the true labels' numbers, int64 ``[examples]``; None where they are not asked for.
        digest: SHA-256 of tokens and labels.
    """

    batches: Batches
    gold: Tensor | None
    digest: str

    @property
    def labels(self) -> Sequence[Tensor] | None:
        """The labels of each batch's examples."""
        if self.gold is None:
            return None
        ordered = self.gold[torch.from_numpy(self.batches.order).to(self.gold.device)]
        return torch.split(ordered, [len(batch["input_ids"]) for batch in self.batches.batches])


def texts_of(
    checkpoint: Checkpoint, source: Source, section: Statistics, kind: Kind, device: torch.device, trust: bool
) -> Texts:
    """Read and tokenise the texts for a statistic, with their labels where it needs them.

    Raises:
        UserError: the data are at fault.
    """
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
        checkpoint.folder, trust_remote_code=trust, local_files_only=True
    )
    source = source.model_copy(update={"limit": min(source.limit or section.limit, section.limit)})
    gold = None
    if kind == "fisher" and section.labels == "true":
        label2id = checkpoint.label2id or {}
        rows = read(source, label=section.label, label2id=label2id)
        gold = torch.tensor([fields.label(row, section.label, label2id) for row in rows], device=device)
    else:
        rows = read(source)
    texts = [fields.text(row, section.text) for row in rows]
    columns = dict(tokenised(texts, tokenizer, section.max_length))
    content = json.dumps([columns, None if gold is None else gold.tolist()], sort_keys=True)
    # Products of many tokens at a time are quicker; gradients are formed an example at a time.
    batch_tokens = BATCH_TOKENS[device.type] * (4 if kind == "gram" else 1)
    batches = pack(columns, padding(tokenizer), batch_tokens=batch_tokens, device=device)
    return Texts(batches, gold, hashlib.sha256(content.encode()).hexdigest())


def measure(
    checkpoint: Checkpoint,
    texts: Texts,
    section: Statistics,
    kind: Kind,
    device: torch.device,
    trust: bool,
    track: Track = iter,
) -> Statistic:
    """Run a model over its texts.

    Raises:
        UserError: it is no classifier (Fisher information), or gives infinity or no number.
    """
    if kind == "fisher" and not checkpoint.label2id:
        raise UserError(
            expected="a classifier: Fisher information is that of its answers",
            got=f"{checkpoint.architecture} in {checkpoint.folder}",
            cure="give the fine-tuned classifier, or take a method that needs no Fisher information",
        )
    model = as_saved(checkpoint, device, trust_remote_code=trust)
    precision = torch.bfloat16 if section.precision == "bfloat16" else torch.float32
    about = About(
        kind=kind,
        model=checkpoint.fingerprint,
        data=texts.digest,
        examples=len(texts.batches.order),
        tokens=texts.batches.tokens,
        precision=section.precision,
        labels=section.labels if kind == "fisher" else None,
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        if kind == "fisher":
            squares = fisher(model, texts.batches.batches, texts.labels, track=track)
            return _named(checkpoint, about, {name: each / about.examples for name, each in squares.items()})
        products = products_in(section.precision, device)
        found = grams(model, texts.batches.batches, products=products, track=track)
    canonical = checkpoint.canonical
    same = {canonical(name): canonical(owner) for name, owner in found.same.items()}
    first = tuple(canonical(name) for name in found.input_first)
    about = About(**{**about.__dict__, "same": same, "input_first": first})
    return _named(checkpoint, about, found.matrices)


def _named(checkpoint: Checkpoint, about: About, tensors: dict[str, Tensor]) -> Statistic:
    for name, each in tensors.items():
        if not torch.isfinite(each).all():
            raise UserError(
                expected=f"finite {about.kind} statistics",
                got=f"NaN or infinity for {name} of {checkpoint.folder}",
                cure="look at that checkpoint's weights, or take precision: float32",
            )
    return Statistic(about, {checkpoint.canonical(name): each.cpu() for name, each in tensors.items()})
