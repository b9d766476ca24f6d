"""A function of the user's, asked about the live model."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from searchmerge.config import Source
from searchmerge.config.tasks import Python as Section
from searchmerge.isolation import PrivateGlobals
from searchmerge.objective.batching import Batch, Batches
from searchmerge.objective.data import short
from searchmerge.objective.kinds.means import Means, common
from searchmerge.objective.kinds.time_limit import within
from searchmerge.objective.metrics import METRICS
from searchmerge.objective.task import Partial, Task, digest_of
from searchmerge.types import Outcomes, UserError

Function = Callable[..., float | Sequence[float]]
"""``(model, tokenizer, examples, **options)`` to a score, or one an example; higher is better."""

_Made = TypeVar("_Made", bound=Function)

SEED = 0
"""Where the global generators stand whenever the function is called."""


def prepared_by(prepare: Callable[..., Any]) -> Callable[[_Made], _Made]:
    """Have a function of a task in Python prepared when the task is made: so before any search.

    Args:
        prepare: called with the task's options, and ``chooses``: whether a search is to choose by the task;
            raises ``UserError`` where the function could not score, and gives as JSON what scores depend on
            besides the options.
    """

    def marked(function: _Made) -> _Made:
        function.__dict__["prepare"] = prepare
        return function

    return marked


@dataclass(frozen=True, kw_only=True)
class Python(Task):
    """A function and the examples that it is given.

    It is called within inference mode and the objective's precision, with global generators that stand at the
    same place each time: what it draws depends on nothing else and changes nothing else. It may not change
    the model's weights; what else it changes of the model stays, but for the training mode.

    Outcomes are float64 ``[examples, 2]``: the score, and 1; ``[1, 2]`` where the function gives one score;
    without data of the config's as many rows as it gives scores.

    Args:
        function: what is called.
        options: its keyword arguments.
        rows: the examples, as the data have them; None where the config names no data.
        tokenizer: the models' tokenizer.
        time_limit: seconds of one call, None for any.
        most: the highest score that there can be.
    """

    side_by_side: ClassVar[bool] = False

    function: Function
    options: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] | None
    tokenizer: Any
    time_limit: float | None
    most: float

    @property
    def summary(self) -> str:
        """How many examples it is given."""
        return f"{len(self.rows)} examples" if self.rows is not None else "without data"

    @property
    def examples(self) -> int:
        """How many it is given; 1 without data."""
        return len(self.rows) if self.rows is not None else 1

    @property
    def asked(self) -> Sequence[Batch]:
        """One call, without a batch."""
        return ({},)

    @property
    def costs(self) -> Sequence[int]:
        """One call."""
        return [self.examples]

    def check(self, model: nn.Module) -> None:
        """Whether it takes the model is the function's business."""

    def answer(self, model: nn.Module, batch: Batch) -> Tensor:
        """Call the function: its scores, float64 ``[examples]`` or ``[1]``."""
        with _private_generators(), self._unchanged(model):
            found = within(
                self.time_limit,
                lambda: self.function(
                    model, self.tokenizer, deepcopy(self.rows), **deepcopy(dict(self.options))
                ),
            )
        model.eval()
        return self._scores(found)

    def _scores(self, found: Any) -> Tensor:
        try:
            scores = torch.as_tensor(found, dtype=torch.float64).cpu()
        except (TypeError, ValueError, RuntimeError):
            scores = torch.empty(0)
        # Without data of the config's, the function alone knows how many there are.
        each = scores.numel() if self.rows is None else self.examples
        if scores.numel() == 0 or (scores.numel() > 1 and scores.shape != (each,)):
            several = "a list of them" if self.rows is None else f"one for each of {each} examples"
            raise TypeError(f"task {self.name}: expected one score, or {several}, got {short(found)}")
        if scores.max() > self.most:
            raise UserError(
                expected=f"scores of at most {self.most:g}, the best of the task {self.name}",
                got=f"{scores.max():g}",
                cure="correct best: in the task, or leave it out",
            )
        return scores.reshape(-1)

    @contextmanager
    def _unchanged(self, model: nn.Module) -> Iterator[None]:
        """Refuse a function that changes the weights: the heads among them stay for all later candidates."""
        before = _marks(model)
        try:
            yield
        finally:
            after = _marks(model)
            if changed := [name for name in {**before, **after} if before.get(name) != after.get(name)]:
                raise UserError(
                    expected=f"a function of the task {self.name} that leaves the weights as they are",
                    got=f"changes in {len(changed)} tensors, {changed[0]} the first",
                    cure="let it work on copy.deepcopy(model)",
                )

    def read(self, answers: Tensor, number: int) -> Outcomes:
        """Put a 1 beside each score; errors as of the base class."""
        scores = self.finite(answers).numpy()
        return np.stack([scores, np.ones(len(scores))], axis=1)

    def outcomes(self, answers: Sequence[Tensor]) -> Outcomes:
        """Turn the scores into outcomes."""
        return self.read(answers[0], 0)

    def start(self) -> Partial:
        """Nothing has been seen."""
        return Partial(np.full((1, 2), np.nan), np.zeros(1, dtype=bool))

    def note(self, answers: Tensor, number: int, partial: Partial) -> float:
        """Take the scores; errors as of the base class."""
        partial.outcomes, partial.seen = self.read(answers, number), np.ones(1, dtype=bool)
        return 0.0

    def bound(self, partial: Partial) -> float:
        """The highest score that there can be, until the function has been called."""
        return self.value(partial.outcomes) if partial.seen.all() else self.most

    def value(self, outcomes: Outcomes) -> float:
        """The mean of the scores."""
        return self.metric.value(outcomes, outcomes)


def load(task: Section, source: Source | None, means: Means) -> Python:
    """Import the function and read the examples, if there are any.

    Raises:
        UserError: no such function, or one that cannot be prepared; the data are at fault; a time limit where
            there can be none.
    """
    if task.time_limit is not None and not hasattr(signal, "setitimer"):
        raise UserError(
            expected=f"no time limit for the task {task.name} on this platform, which has no timer signals",
            got=f"time_limit: {task.time_limit}",
            cure="leave time_limit out",
        )
    function = imported(task.function)
    about = _prepared(task, function)
    rows = None if source is None else [dict(columns) for _, columns in means.read(source)]
    settings = [task.name, task.head, task.weight, task.function, task.options, task.best, about]
    inputs = digest_of(task.kind, settings, _code(function), rows)
    return Python(
        **common(task),
        metric=METRICS[task.kind]["mean"],
        gold=np.zeros((0, 2)),
        batches=Batches((), np.zeros(0, dtype=np.int64), (), 0, 0, 0),
        inputs=inputs,
        digest=inputs,
        function=function,
        options=task.options,
        rows=rows,
        tokenizer=means.tokenizer,
        time_limit=task.time_limit,
        most=np.inf if task.best is None else task.best,
    )


def _prepared(task: Section, function: Function) -> Any:
    prepare = getattr(function, "prepare", None)
    if prepare is None:
        return None
    try:
        inspect.signature(function).bind(None, None, None, **task.options)
    except TypeError as error:
        raise UserError(
            expected=f"options that {task.function} takes",
            got=str(error),
            cure=f"correct options: of the task {task.name}",
        ) from error
    return prepare(chooses=not task.ood, **task.options)


def imported(function: str) -> Function:
    """Import ``module:function`` or ``path/to/file.py:function``.

    Raises:
        UserError: no such module or function, or an error in it.
    """
    module, _, name = function.rpartition(":")
    try:
        found = getattr(_module(module), name)
        if not callable(found):
            raise TypeError(f"{name} is {short(found)}")
    except Exception as error:  # importing runs the user's module, which may raise anything
        raise UserError(
            expected=f"a function {name} in {module}",
            got=f"{type(error).__name__}: {error}",
            cure="correct function: in the task, or the module; one beside the config file is found there",
        ) from error
    checked: Function = found
    return checked


def _module(module: str) -> Any:
    if not module.endswith(".py"):
        return importlib.import_module(module)
    spec = importlib.util.spec_from_file_location(module, module)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[module] = made  # where a dataclass looks for the names of its types
    spec.loader.exec_module(made)
    return made


def _code(function: Function) -> str:
    """A hash of the file that the function is in: another version of it is another objective."""
    file = inspect.getsourcefile(inspect.unwrap(function))
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


@contextmanager
def _private_generators() -> Iterator[None]:
    with PrivateGlobals(SEED), torch.random.fork_rng():
        torch.manual_seed(SEED)
        yield


def _marks(model: nn.Module) -> dict[str, tuple[Any, ...]]:
    """Where each weight lies, its type, and the sum of its bits as integers, which no order changes."""
    state = model.state_dict()
    sums = [_sum_of_bits(tensor).long() for tensor in state.values()]
    totals = torch.stack(sums).tolist() if sums else []
    return {
        name: (tensor.data_ptr(), tensor.dtype, tensor.shape, total)
        for (name, tensor), total in zip(state.items(), totals, strict=True)
    }


def _sum_of_bits(tensor: Tensor) -> Tensor:
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.view(integers).sum(dtype=integers)  # overflows, at a thirtieth of the time of a wider sum
