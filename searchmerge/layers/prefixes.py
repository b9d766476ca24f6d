"""Hidden states behind the first layers, kept for the candidates that begin alike.

Candidates of a path search, or of one whose coefficients differ a layer, often share their first layers. What
these make of a batch is then taken from here, to the bit what they would make of it again. States are kept
for sure where a candidate parts from an earlier one, since others will part there too, and behind its other
layers while there is room; of a candidate that shares nothing, nothing is kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

Batch: TypeAlias = tuple[Any, ...]
"""All that a model is called with: its tensors' numbers and how often they were written to, other values."""

Watched: TypeAlias = tuple[nn.Module, Sequence[nn.Module]]
"""A live model and the layers of one of its stacks."""

Method = TypeVar("Method", bound=Callable[..., Any])

_REMEMBERED = 200_000
"""Digests of beginnings that are remembered: of some thousand candidates."""

_EXTRAS = ("use_cache", "output_hidden_states", "output_attentions")
"""What a caller may want that every layer has to add to."""


def _alone(method: Method) -> Method:
    """For one thread at a time: a model may be asked several batches at once."""

    @wraps(method)
    def locked(self: Prefixes, *arguments: Any) -> Any:
        with self._lock:
            return method(self, *arguments)

    return locked  # type: ignore[return-value]


class Prefixes:
    """Outputs of layers by what all layers up to there are, and by the batch that went through.

    Args:
        limit: bytes to keep at most. Where no candidates have parted goes first, then what has not been of
            use for longest, the deeper before the shallower.

    Attributes:
        run: batches that went through a layer, one for each layer.
        saved: those that did not have to.
    """

    def __init__(self, limit: int) -> None:
        self.run = self.saved = 0
        self._limit, self._bytes = limit, 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._kept: OrderedDict[str, dict[Batch, _State]] = OrderedDict()
        self._spare: OrderedDict[str, None] = OrderedDict()  # those of the kept where none have parted yet
        self._parting: str | None = None
        self._numbers: Any = WeakIdKeyDictionary()  # tensors compare by element, so by identity here
        self._numbered = 0
        self._off = False
        self._lock = threading.Lock()

    @contextmanager
    def watching(self, models: Mapping[str, Watched], beginnings: Sequence[str]) -> Iterator[None]:
        """Within the block, reuse and keep what the models' layers give.

        Args:
            models: one candidate's live models, each with the layers that come first in it.
            beginnings: for each layer, a digest of all that its output depends on, the model's name and the
                batch apart.
        """
        common = sum(digest in self._seen for digest in beginnings)
        self._parting = beginnings[common - 1] if common else None
        self._spare.pop(self._parting or "", None)
        for digest in reversed(beginnings):  # the shallowest last: it is the one to be let go last
            self._seen[digest] = None
            self._seen.move_to_end(digest)
            if digest in self._kept:
                self._kept.move_to_end(digest)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        with ExitStack() as all_watched:
            for name, (model, layers) in models.items():
                all_watched.enter_context(_Watch(self, name, beginnings).on(model, layers))
            yield

    @_alone
    def batch(self, name: str, model: Any, inputs: Mapping[str, Any]) -> Batch | None:
        """Tell a batch; None where nothing may be reused, or a tensor is seen for the first time.

        So the batches of a dev set are known from the second candidate on, and tensors that are made for one
        call, as in generation, never are.
        """
        # What a decoder is given does not reach the encoder, whose layers are the ones watched.
        given = {key: value for key, value in inputs.items() if not key.startswith("decoder_")}
        tensors = [value for value in given.values() if isinstance(value, Tensor)]
        fresh = [tensor for tensor in tensors if tensor not in self._numbers]
        for tensor in fresh:
            self._numbered += 1
            self._numbers[tensor] = self._numbered
        if fresh or not tensors or self._off or not _plain(model, given):
            return None
        kind = tensors[0].device.type
        parts = (
            (key, (self._numbers[value], value._version) if isinstance(value, Tensor) else value)
            for key, value in sorted(given.items())
        )
        return name, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind), *parts

    @_alone
    def deepest(self, beginnings: Sequence[str], batch: Batch) -> tuple[int, Any]:
        """How many first layers the batch need not go through, and what the last of them gives."""
        for depth in range(len(beginnings), 0, -1):
            state = self._kept.get(beginnings[depth - 1], {}).get(batch)
            if state is not None and state.untouched:
                return depth, state.output
        return 0, None

    @_alone
    def keep(self, beginning: str, batch: Batch, output: Any) -> None:
        """Keep what a layer gave if there is room, or what is worth less can make room."""
        if self._parting is None or (state := _State.of(output)) is None:
            return
        if old := self._kept.get(beginning, {}).pop(batch, None):  # a later layer wrote into it
            self._bytes -= old.bytes
        here = beginning == self._parting
        while self._bytes + state.bytes > self._limit:
            worst = next(iter(self._spare), next(iter(self._kept), None) if here else None)
            if worst is None or worst == beginning:
                return
            self._spare.pop(worst, None)
            self._bytes -= sum(each.bytes for each in self._kept.pop(worst).values())
        if not here and beginning not in self._kept:
            self._spare[beginning] = None
        self._kept.setdefault(beginning, {})[batch] = state
        self._bytes += state.bytes

    @_alone
    def count(self, saved: bool) -> None:
        """Count a batch that came to a layer."""
        self.saved += saved
        self.run += not saved

    @_alone
    def turn_off(self) -> None:
        """Reuse and keep nothing from now on: a model's layers do not stand one after the other."""
        self._off = True
        self._kept.clear()
        self._spare.clear()
        self._bytes = 0


def _plain(model: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether the call is one for an answer and nothing else, of tensors and plain values."""
    if torch.is_grad_enabled() or torch.is_inference_mode_enabled() or model.training:
        return False
    config = getattr(model, "config", None)
    wanted = (inputs.get(key, key != "use_cache" and getattr(config, key, False)) for key in _EXTRAS)
    plain = (
        value is None or isinstance(value, Tensor | bool | int | float | str) for value in inputs.values()
    )
    return all(plain) and not any(wanted)


def _tensors(output: Any) -> tuple[Any, ...]:
    return tuple(part for part in (output if isinstance(output, tuple) else (output,)) if part is not None)


@dataclass(frozen=True)
class _State:
    """What a layer gave, how often its tensors had been written to by then, and the memory that they hold."""

    output: Any
    versions: tuple[int, ...]
    bytes: int

    @classmethod
    def of(cls, output: Any) -> _State | None:
        """None for an output that is more than tensors."""
        tensors = _tensors(output)
        if not all(isinstance(tensor, Tensor) for tensor in tensors):
            return None
        memory = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
        return cls(output, tuple(each._version for each in tensors), sum(memory.values()))

    @property
    def untouched(self) -> bool:
        """Whether no later layer wrote into it."""
        return self.versions == tuple(tensor._version for tensor in _tensors(self.output))


class _Pass(threading.local):
    """A batch on its way through a model, on one thread.

    Attributes:
        batch: which; None where nothing may be reused.
        depth: first layers that it need not go through.
        output: what the last of these gives.
        given: what the layer before gave, and how often that had been written to.
    """

    batch: Batch | None = None
    depth: int = 0
    output: Any = None
    given: tuple[Tensor, int] | None = None


class _Watch:
    """A live model whose first layers may be skipped."""

    def __init__(self, prefixes: Prefixes, name: str, beginnings: Sequence[str]) -> None:
        self._prefixes, self._name, self._beginnings = prefixes, name, beginnings
        self._pass = _Pass()

    @contextmanager
    def on(self, model: nn.Module, layers: Sequence[nn.Module]) -> Iterator[None]:
        hooks = [
            model.register_forward_pre_hook(self._enter, with_kwargs=True),
            model.register_forward_hook(self._leave, always_call=True),
        ]
        for position, layer in enumerate(layers):
            # Before what scales the states of a path.
            arrive = partial(self._arrive, position)
            hooks.append(layer.register_forward_pre_hook(arrive, prepend=True, with_kwargs=True))
            layer.forward = partial(self._through, position, layer.forward)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for layer in layers:
                vars(layer).pop("forward", None)  # the class's own comes to light again

    def _enter(self, model: nn.Module, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> None:
        self._pass.batch = None if args else self._prefixes.batch(self._name, model, inputs)
        if self._pass.batch is not None:
            self._pass.depth, self._pass.output = self._prefixes.deepest(self._beginnings, self._pass.batch)

    def _leave(self, *_: Any) -> None:
        vars(self._pass).clear()

    def _arrive(self, position: int, _: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Make sure that a layer is given what the one before gave, as that gave it."""
        if position and self._pass.batch is not None:
            states = args[0] if args else next(iter(named.values()), None)
            if (
                self._pass.given is None
                or states is not self._pass.given[0]
                or states._version != self._pass.given[1]
            ):
                self._prefixes.turn_off()

    def _through(self, position: int, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        known = position < self._pass.depth
        self._prefixes.count(known)
        if known:
            output = self._pass.output
        else:
            output = forward(*args, **named)
            if self._pass.batch is not None:
                self._prefixes.keep(self._beginnings[position], self._pass.batch, output)
        first = next(iter(_tensors(output)), None)
        self._pass.given = (first, first._version) if isinstance(first, Tensor) else None
        return output
