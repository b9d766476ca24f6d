"""A model as it stands on disk, scored on a config's tasks."""

from __future__ import annotations

import transformers

from searchmerge.bench import device_of
from searchmerge.config import Config
from searchmerge.judge import Standing, standing
from searchmerge.objective import Split
from searchmerge.objective.making import build
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.standalone import standalone


def evaluate(ref: str, config: Config, split: Split) -> Standing:
    """Score a model on every task of the config that has a part in the split.

    Args:
        ref: a Hugging Face folder or hub id.
        config: its ``objective`` section is used.
        split: ``dev``, ``test`` or ``ood``.

    Raises:
        UserError: no such model, or no head that fits a task.
    """
    trust = config.models.trust_remote_code
    checkpoint = Checkpoint.open(ref, allow_pickle=config.models.allow_pickle, trust_remote_code=trust)
    device = device_of(config.device)
    models, labels = standalone(checkpoint, config.objective.tasks, device, trust_remote_code=trust)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder, trust_remote_code=trust)
    objective = build(
        config.objective,
        split,
        tokenizer=tokenizer,
        labels=labels,
        device=device,
        encoder_decoder=checkpoint.encoder_decoder,
    )
    return standing(objective, objective(models))
