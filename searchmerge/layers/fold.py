"""A laid model as a plain one of its class: the scales go into the weights, and no code comes with it.

Let a step's input ``h`` be multiplied by ``s`` and write ``c`` for the product of the scales so far.

*Pre-norm.* A layer adds to the stream what it computes from the stream's norm, which no factor changes. The
plain model's stream is ``h/c``: what each layer adds is divided by ``c``, and the final norm takes out the
rest.

*Post-norm.* Attention adds ``o(a(s·h))`` to ``s·h``, and ``norm(s·h + o) = norm(h + o/s)``: queries, keys and
values read with ``s`` times their weights, and what attention adds is divided by ``s``.

Both hold up to the epsilon that norms add to the variance. It shows where a pre-norm stream is small: with
random weights, embeddings of deviation 0.02 and the first two inputs halved, logits moved by 0.07 of their
deviation at an epsilon of 1e-5, by 0.01 at 1e-6 (6 layers of 128; with unit embeddings below 0.001).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from searchmerge.layers.live import Step, lay, scale_of
from searchmerge.layers.stacks import Stack, built, stacks_of
from searchmerge.quiet import quiet
from searchmerge.types import UserError


@dataclass(frozen=True)
class Rule:
    """How the scales of a stack go into its weights.

    Args:
        divided: matches, within a layer, the linear maps whose weights and biases are divided.
        multiplied: the linear maps whose weights are multiplied.
        cumulative: whether by the product of the scales so far, not by the step's own.
    """

    divided: str
    multiplied: str
    cumulative: bool


# The one place that knows names; ``folding`` tries whether they are right for a model.
_NEVER = r"(?!)"
_KEEP = Rule(_NEVER, _NEVER, cumulative=False)
_PRE_NORM = Rule(
    r"(.*\.)?(o|wo|o_proj|out_proj|c_proj|w2|down_proj|dense_4h_to_h|fc2|fc_out"
    r"|(attention|self_attn|self_attention|output)\.dense)",
    _NEVER,
    cumulative=True,
)
_POST_NORM = Rule(
    r"attention\.output\.dense|attention\.out_lin|self_attn\.out_proj|attention\.attn\.o",
    r"attention\.self\.(query|key|value)|attention\.[qkv]_lin|self_attn\.[qkv]_proj|attention\.attn\.[qkv]",
    cumulative=False,
)


def folding(model: Any, stack: Stack, *, scaled: bool = True) -> Rule:
    """Find how the scales of a stack are folded into its weights, and that a path comes out as it was.

    Tried on a model of the same class and sizes with three layers and random weights.

    Args:
        model: whose class and config are asked about; its weights are not read.
        stack: of that model.
        scaled: whether the paths have scales.

    Raises:
        UserError: a laid model of this architecture cannot be written as a plain one.
    """
    rules = (_PRE_NORM, _POST_NORM) if scaled else (_KEEP,)
    with quiet(), torch.no_grad():
        trial = _trial(model)
        twin = next(other for other in stacks_of(trial) if other.name == stack.name)
        layers = list(trial.get_submodule(stack.name))
        scales = (0.6, 1.7, 0.8, 1.3) if scaled else (1.0,) * 4
        path = zip((2, 0, 0, 1), scales, strict=True)
        lay(trial, twin, [Step(layers[origin], origin, scale) for origin, scale in path])
        for rule in rules:
            if _agree(trial, plain(trial, {twin: rule})):
                return rule
    if scaled:
        folding(model, stack, scaled=False)  # where not even that goes, its message is the one to give
    raise UserError(
        expected="an architecture " + ("that can take the fold" if scaled else "whose layers can move"),
        got=f"{type(model).__name__}, where "
        + ("scales folded into the weights" if scaled else "other positions")
        + f" change what {stack.name} computes",
        cure="take scales: off" if scaled else "search merge coefficients of such models, not paths",
    )


def folded(model: Any, rules: Mapping[Stack, Rule]) -> dict[str, Tensor]:
    """The state of the plain model: of the laid stacks copies, of all else the live tensors themselves.

    Args:
        model: a laid model; it stays as it is.
        rules: each laid stack's, from :func:`folding`.
    """
    state: dict[str, Tensor] = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    for stack, rule in rules.items():
        product = 1.0
        for position, layer in enumerate(model.get_submodule(stack.name)):
            own = scale_of(layer)
            product *= own
            factor = product if rule.cumulative else own
            for name in layer.state_dict():
                whole = f"{stack.name}.{position}.{name}"
                state[whole] = _scaled(state[whole], name, rule, factor)
    return state


def plain(model: Any, rules: Mapping[Stack, Rule]) -> nn.Module:
    """Make a model of the same class that computes what the laid one does; its weights are copies.

    Args:
        model: a laid model; it stays as it is.
        rules: each laid stack's, from :func:`folding`.
    """
    with no_init_weights():
        copy: nn.Module = built(model, {})
    copy.load_state_dict(folded(model, rules))
    return copy.eval().requires_grad_(False)


def _scaled(tensor: Tensor, name: str, rule: Rule, factor: float) -> Tensor:
    """A copy of a layer's tensor with the scale in it."""
    linear, _, kind = name.rpartition(".")
    if factor != 1.0 and re.fullmatch(rule.divided, linear):
        return tensor / factor
    if factor != 1.0 and kind == "weight" and re.fullmatch(rule.multiplied, linear):
        return tensor * factor
    return tensor.clone()


def _trial(model: Any) -> Any:
    """A model of the same class and sizes, three layers in each stack, with random weights."""
    settings: dict[str, Any] = {}
    for stack in stacks_of(model):
        settings |= stack.settings([at % stack.length for at in range(3)])
    with no_init_weights():
        trial = built(model, settings).float().eval()
    generator = torch.Generator().manual_seed(0)
    tables = {id(module.weight) for module in trial.modules() if isinstance(module, nn.Embedding)}
    for name, parameter in trial.named_parameters():
        # Deviations at which every part of a layer has a say in its output.
        matrix = parameter.dim() > 1
        spread = 1.0 if id(parameter) in tables else (2 / sum(parameter.shape)) ** 0.5 if matrix else 0.2
        parameter.normal_(0.0, spread, generator=generator)
        if not matrix and name.endswith("weight"):
            parameter += 1.0
    return trial


def _agree(live: Any, copy: Any) -> bool:
    """Whether two models answer alike, to a thousandth of the answers' deviation."""
    # Heads, which ask for special tokens, do not matter here.
    bodies = live.base_model, copy.base_model
    known = signature(bodies[0].forward).parameters
    inputs = {name: tensor for name, tensor in live.dummy_inputs.items() if name in known}
    expected, got = (body(**inputs)[0] for body in bodies)
    return bool((got - expected).abs().max() <= 1e-3 * expected.std())
