"""How a model class calls its tensors, told by an empty model of that class.

A tensor has three names. *Stored* is the one on disk. *Parameter* is the one in the instantiated model:
transformers renames what old versions saved otherwise (``LayerNorm.gamma``) and adds or strips the name that
a class gives the base model inside it. *Canonical* is the parameter's without that name (``encoder…`` for
``bert.encoder…``), so that a base model and its classifiers agree on the tensors that they share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from searchmerge.types import UserError


class Architecture:
    """The names and shapes of a model's tensors.

    Args:
        model: a transformers model, on any device; one on ``meta`` will do.

    Attributes:
        model: that model.
        parameters: canonical name to the name in ``model.state_dict()``, in the model's order; of tied
            tensors only the first.
        shapes: canonical name to shape.
        body: the canonical names of the base model's tensors; the others are the class's own, its head.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        inner = model.base_model_prefix
        self._prefix = f"{inner}." if inner and hasattr(model, inner) else ""
        self._state: dict[str, torch.Tensor] = model.state_dict()
        first: dict[int, str] = {}
        # Tied parameters are one object under several names.
        tied = dict(model.named_parameters(remove_duplicate=False))
        self._canonical = {
            name: first.setdefault(id(tied.get(name, name)), name).removeprefix(self._prefix)
            for name in self._state
        }
        self.parameters: Mapping[str, str] = {
            canonical: name
            for name, canonical in self._canonical.items()
            if name.removeprefix(self._prefix) == canonical
        }
        self.shapes = {
            canonical: tuple(self._state[name].shape) for canonical, name in self.parameters.items()
        }
        self.body = frozenset(c for c, name in self.parameters.items() if name.startswith(self._prefix))
        self._transforms = get_model_conversion_mapping(model)

    def parameter(self, stored: str) -> str:
        """The parameter name of a stored tensor; the model need not have it.

        Raises:
            UserError: this architecture stores its tensors otherwise than it computes with them (fused, or
                split, as in mixtures of experts).
        """
        renamings = [t for t in self._transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in self._transforms if not isinstance(t, WeightRenaming)]
        prefix = self.model.base_model_prefix or None
        name, converted = rename_source_key(stored, renamings, converters, prefix, self._state)
        if converted is not None:
            raise UserError(
                expected="tensors stored one by one as the model computes with them",
                got=f"{stored}, which {type(self.model).__name__} fuses or splits when it is loaded",
                cure="searchmerge does not convert such layouts; merge models of a dense architecture",
            )
        return str(name)

    def canonical(self, parameter: str) -> str:
        """The canonical name of a parameter, also of one that the model does not have."""
        return self._canonical.get(parameter, parameter.removeprefix(self._prefix))

    def needed(self) -> frozenset[str]:
        """The canonical names without which the model would start with random numbers."""
        patterns = self.model._keys_to_ignore_on_load_missing or ()
        learnt = {name for name, _ in self.model.named_parameters()}
        return frozenset(
            canonical
            for canonical, name in self.parameters.items()
            if name in learnt and not any(re.search(pattern, name) for pattern in patterns)
        )


def empty_model(folder: Path, config: Mapping[str, Any], *, trust_remote_code: bool = False) -> Any:
    """Make the model that a folder's config describes, without memory for its weights.

    Args:
        folder: of the checkpoint.
        config: its ``config.json``.
        trust_remote_code: whether code that came with the checkpoint may run.

    Raises:
        UserError: a config that transformers cannot read, an architecture that it does not have, or one that
            only code of the checkpoint defines.
    """
    native = _native_class(config)
    remote = native is None and bool(config.get("auto_map"))
    if native is None and not remote:
        raise _unknown(folder, config, "", "install the transformers that the model asks for")
    if remote and not trust_remote_code:
        cure = "read that code, then set models.trust_remote_code: true"
        raise _unknown(folder, config, ", defined by code of the checkpoint", cure)
    try:
        settings = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=remote)
        with torch.device("meta"):
            return (native or _remote_class(folder, config))(settings)
    except UserError:
        raise
    except Exception as error:  # a wrong config makes a model's constructor raise anything
        raise UserError(
            expected=f"a model config that transformers {transformers.__version__} can read in {folder}",
            got=" ".join(str(error).split())[:300],
            cure="correct config.json, or install the transformers that the model asks for",
        ) from error


def _native_class(config: Mapping[str, Any]) -> Any:
    """The class of transformers that a config names, or the plain model of its type; None if it has none."""
    if config.get("model_type") not in transformers.CONFIG_MAPPING:
        return None
    names = config.get("architectures")
    if not names:
        return transformers.MODEL_MAPPING.get(transformers.CONFIG_MAPPING[config["model_type"]], None)
    found = getattr(transformers, str(names[0]), None)
    return found if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel) else None


def _remote_class(folder: Path, config: Mapping[str, Any]) -> Any:
    name = (config.get("architectures") or [None])[0]
    for auto, target in config["auto_map"].items():
        if auto.startswith("AutoModel") and name in (None, target.rpartition(".")[2]):
            return get_class_from_dynamic_module(target, folder)
    raise _unknown(folder, config, ", which auto_map does not list", "correct auto_map in config.json")


def _unknown(folder: Path, config: Mapping[str, Any], why: str, cure: str) -> UserError:
    name = ", ".join(config.get("architectures") or ["a model"])
    return UserError(
        expected=f"an architecture that transformers {transformers.__version__} has",
        got=f"{name} of type {config.get('model_type')} in {folder}{why}",
        cure=cure,
    )
