"""A workshop of tiny random models, made in a second: what the checks of a space need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from searchmerge.config import Models
from searchmerge.sources import Sources
from searchmerge.types import MERGED
from searchmerge.workshop import Workshop


def tiny_workshop(
    folder: Path, experts: Sequence[str] = ("first", "second", "third"), *, base: bool = True
) -> Workshop:
    """Open random two-layer encoders that differ from one base by noise.

    Args:
        folder: the models are written there.
        experts: their names.
        base: whether the workshop has the base too.
    """
    config = BertConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(config)
        model.save_pretrained(folder / "base")
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for name in experts:
            moved = {key: tensor + 0.01 * torch.randn(tensor.shape) for key, tensor in start.items()}
            model.load_state_dict(moved)
            model.save_pretrained(folder / "experts" / name)
    models = Models(
        base=str(folder / "base") if base else None,
        experts={name: str(folder / "experts" / name) for name in experts},
    )
    return Workshop(Sources.open(models, tasks_name_heads=False), (MERGED,), torch.device("cpu"))
