"""A function of the user's, asked about the live model."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from searchmerge.config import Source
from searchmerge.config.tasks import Python as Section
from searchmerge.isolation import PrivateGlobals
from searchmerge.objective.batching import Batch, Batches
from searchmerge.objective.data import short
from searchmerge.objective.kinds.means import Means, common
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
    same place each time: what it draws depends on nothing else and changes nothing else.

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
    def costs(self) -> Sequence[int]:
        """One call."""
        return [self.examples]

    def check(self, model: nn.Module) -> None:
        """Whether it takes the model is the function's business."""

    def answer(self, model: nn.Module, batch: Batch) -> Tensor:
        """Call the function: its scores, float64 ``[examples]`` or ``[1]``."""
        with _private_generators(), _within(self.time_limit):
            found = self.function(model, self.tokenizer, deepcopy(self.rows), **deepcopy(dict(self.options)))
        model.eval()
        return torch.from_numpy(self._scores(found))

    def _scores(self, found: Any) -> Any:
        found = found.detach().cpu().numpy() if isinstance(found, Tensor) else found
        scores = np.asarray(found, dtype=np.float64)
        # Without data of the config's, the function alone knows how many there are.
        each = scores.size if self.rows is None else self.examples
        if scores.size == 0 or (scores.size > 1 and scores.shape != (each,)):
            raise TypeError(
                f"task {self.name}: expected one score, or one for each of {each} examples, "
                f"got {short(found)}"
            )
        return scores.reshape(-1)

    def answers(self, *models: nn.Module) -> list[list[Tensor]]:
        """Call the function once for each model."""
        for model in models:
            model.eval()
        return [[self.answer(model, {})] for model in models]

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

    def step(self, model: nn.Module, number: int, partial: Partial) -> float:
        """Call the function; errors as of :meth:`predict`."""
        partial.outcomes, partial.seen = self.predict(model), np.ones(1, dtype=bool)
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
    spec = importlib.util.spec_from_file_location(Path(module).stem, module)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
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


class _TimeIsUp(BaseException):
    """Not an ``Exception``: the user's function may catch those."""


@contextmanager
def _within(seconds: float | None) -> Iterator[None]:
    """Interrupt what runs too long, as soon as it comes back to the interpreter.

    Raises:
        TimeoutError: it was interrupted.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return

    def interrupt(*_: Any) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, interrupt)
    # Again and again, should it catch everything.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    except _TimeIsUp:
        raise TimeoutError(f"no score within the time limit of {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
