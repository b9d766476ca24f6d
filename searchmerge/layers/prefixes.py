"""Hidden states behind the first layers, kept for the candidates that begin alike.

Candidates of a path search, or of one whose coefficients differ a layer, often share their first layers. What
these make of a batch is then taken from here, to the bit what they would make of it again. States are kept
where a candidate parts from an earlier one: a beginning that occurs once costs nothing but its digest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

Batch: TypeAlias = tuple[int, ...]
"""The numbers of a batch's tensors."""

_REMEMBERED = 200_000
"""Digests of beginnings that are remembered: of some thousand candidates."""


class Prefixes:
    """Outputs of layers by what all layers up to there are, and by the batch that went through.

    Args:
        limit: bytes to keep at most; what has not been of use for longest goes first, the deeper before the
            shallower.

    Attributes:
        run: batches that went through a layer, one for each layer.
        saved: those that did not have to.
    """

    def __init__(self, limit: int) -> None:
        self.run = self.saved = 0
        self._limit, self._bytes = limit, 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._kept: OrderedDict[str, dict[Batch, _State]] = OrderedDict()
        self._wanted: str | None = None
        self._numbers: Any = WeakIdKeyDictionary()  # tensors compare by element, so by identity here
        self._numbered = 0

    @contextmanager
    def watching(
        self, models: Sequence[tuple[nn.Module, Sequence[nn.Module]]], beginnings: Sequence[str]
    ) -> Iterator[None]:
        """Within the block, reuse and keep what the models' layers give.

        Args:
            models: the live models of one candidate, which are called with their batches by keyword, each
                with the layers of its first stack.
            beginnings: for each layer, a digest of all that its output depends on, the batch apart.
        """
        parting = sum(digest in self._seen for digest in beginnings)
        self._wanted = beginnings[parting - 1] if parting else None
        for digest in reversed(beginnings):  # the shallowest last: it is the one to be let go last
            self._seen[digest] = None
            self._seen.move_to_end(digest)
            if digest in self._kept:
                self._kept.move_to_end(digest)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        with ExitStack() as all_watched:
            for model, layers in models:
                all_watched.enter_context(_Watched(self, beginnings).on(model, layers))
            yield

    def batch(self, inputs: Mapping[str, Any]) -> Batch | None:
        """Tell a batch by its tensors; None for one with a tensor that is seen for the first time.

        So the batches of a dev set are known from the second candidate on, and tensors that are made for one
        call, as in generation, never are.
        """
        # What a decoder is given does not reach the encoder, whose layers come first.
        tensors = [
            each
            for name, each in inputs.items()
            if isinstance(each, Tensor) and not name.startswith("decoder_")
        ]
        fresh = [each for each in tensors if each not in self._numbers]
        for each in fresh:
            self._numbered += 1
            self._numbers[each] = self._numbered
        return None if fresh or not tensors else tuple(self._numbers[each] for each in tensors)

    def deepest(self, beginnings: Sequence[str], batch: Batch) -> tuple[int, Any]:
        """How many first layers the batch need not go through, and what the last of them gives."""
        for depth in range(len(beginnings), 0, -1):
            state = self._kept.get(beginnings[depth - 1], {}).get(batch)
            if state is not None and state.untouched:
                return depth, state.output
        return 0, None

    def keep(self, beginning: str, batch: Batch, output: Any) -> None:
        """Keep what a layer gave, if that is where candidates part and there is room."""
        if beginning != self._wanted:
            return
        state = _State.of(output)
        while state is not None and self._bytes + state.bytes > self._limit:
            oldest = next(iter(self._kept), beginning)
            if oldest == beginning:
                return
            self._bytes -= sum(each.bytes for each in self._kept.pop(oldest).values())
        if state is not None:
            self._kept.setdefault(beginning, {})[batch] = state
            self._bytes += state.bytes


@dataclass(frozen=True)
class _State:
    """What a layer gave, and how often its tensors had been written to by then."""

    output: Any
    tensors: tuple[Tensor, ...]
    versions: tuple[int, ...]

    @classmethod
    def of(cls, output: Any) -> _State | None:
        """None for an output that is more than tensors."""
        parts = output if isinstance(output, tuple) else (output,)
        if not all(part is None or isinstance(part, Tensor) for part in parts):
            return None
        tensors = tuple(part for part in parts if part is not None)
        return cls(output, tensors, tuple(tensor._version for tensor in tensors))

    @property
    def untouched(self) -> bool:
        """Whether no later layer wrote into it."""
        return self.versions == tuple(tensor._version for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(tensor.nbytes for tensor in self.tensors)


class _Watched:
    """A live model whose first layers may be skipped."""

    def __init__(self, prefixes: Prefixes, beginnings: Sequence[str]) -> None:
        self._prefixes, self._beginnings = prefixes, beginnings
        self._batch: Batch | None = None
        self._depth, self._output = 0, None

    @contextmanager
    def on(self, model: nn.Module, layers: Sequence[nn.Module]) -> Iterator[None]:
        hooks = (
            model.register_forward_pre_hook(self._enter, with_kwargs=True),
            model.register_forward_hook(self._leave, always_call=True),
        )
        for position, layer in enumerate(layers):
            layer.forward = partial(self._through, position, layer.forward)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for layer in layers:
                vars(layer).pop("forward", None)  # the class's own comes to light again

    def _enter(self, _: nn.Module, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> None:
        # A cache that the caller gave must be filled by every layer.
        if not args and inputs.get("past_key_values") is None:
            self._batch = self._prefixes.batch(inputs)
        if self._batch is not None:
            self._depth, self._output = self._prefixes.deepest(self._beginnings, self._batch)

    def _leave(self, *_: Any) -> None:
        self._batch, self._depth, self._output = None, 0, None

    def _through(self, position: int, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if position < self._depth:
            self._prefixes.saved += 1
            return self._output
        self._prefixes.run += 1
        output = forward(*args, **named)
        if self._batch is not None:
            self._prefixes.keep(self._beginnings[position], self._batch, output)
        return output
