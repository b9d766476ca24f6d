"""The result of a run in rows and words: on the terminal, as Markdown, for the page and for the card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

Result: TypeAlias = Mapping[str, Any]
"""The content of ``result.json``."""

Kind: TypeAlias = Literal["expert", "baseline", "searched"]

LABELS = {
    "mean of the experts": "mean of the experts",
    "best expert": "best single expert",
    "own experts": "each task's own expert",
    "ensemble": "ensemble of the experts",
    "average": "plain average",
    "greedy soup": "greedy soup",
    "tuned task arithmetic": "one tuned coefficient",
    "ties": "default TIES",
    "dare_linear": "default DARE",
    "fisher": "Fisher",
    "regmean": "RegMean",
    "default": "default of the space",
}
"""What people read for a baseline; others go by their own name."""

SEARCHED = "searched merge"


def labels(result: Result) -> dict[str, str]:
    """What people read for the baselines of a result: :data:`LABELS`, and winners of earlier searches."""
    return LABELS | {f"search {name}": f"winner of the search {name}" for name in result.get("before", ())}


@dataclass(frozen=True)
class Cell:
    """A score, or a difference of two, between the ends of its interval.

    ``stands_out`` where no row of the column shows a higher score, or the difference is beyond noise.
    """

    value: float
    low: float
    high: float
    stands_out: bool = False


@dataclass(frozen=True)
class Row:
    """One model.

    Args:
        label: what people read.
        kind: groups the rows.
        cells: in the order of the columns, None for what was not measured.
        gain: by how much the searched merge beats this model on test, example by example.
    """

    label: str
    kind: Kind
    cells: tuple[Cell | None, ...]
    gain: Cell | None = None


@dataclass(frozen=True)
class Table:
    """Every model of a result: the first ``means`` columns are the objective, the others one task each.

    An arrow beside a task's name says that lower is better.
    """

    columns: tuple[str, ...]
    means: int
    rows: tuple[Row, ...]
    split: Literal["dev", "test"]

    @property
    def gains(self) -> bool:
        """Whether the searched merge was compared with any of the others."""
        return any(row.gain for row in self.rows)

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """The rows of each kind, in order."""
        return [(kind, list(rows)) for kind, rows in groupby(self.rows, key=lambda row: row.kind)]


def tabulate(result: Result, split: Literal["dev", "test"] | None = None) -> Table:
    """Arrange a result: experts, baselines, then the searched merge.

    Args:
        result: content of ``result.json``; ``best`` may be missing or None, every ``test`` may be None.
        split: whose tasks have a column each; by default those of test, where there is one.
    """
    models = _models(result)
    tested = any(scores["test"] for _, _, scores in models)
    means = tuple(mean for mean in ("dev", "test", "ood") if any(scores.get(mean) for *_, scores in models))
    split = split or ("test" if tested else "dev")
    tasks = tuple(result["tasks"])
    lines = [
        [_cell(scores.get(mean)) for mean in means]
        + [_cell((scores[split] or {"tasks": {}})["tasks"].get(task)) for task in tasks]
        for _, _, scores in models
    ]
    lower = [False] * len(means) + [task in result.get("lower", ()) for task in tasks]
    columns = zip(zip(*lines, strict=True), lower, strict=True)
    marked = zip(*(_marked(column, least) for column, least in columns), strict=True)
    rows = tuple(
        Row(label, kind, cells, _gain(scores.get("gain")))
        for (label, kind, scores), cells in zip(models, marked, strict=True)
    )
    named = tuple(f"{task} ↓" if task in result.get("lower", ()) else task for task in tasks)
    return Table(means + named, len(means), rows, split)


def headline(result: Result) -> str:
    """What the search was worth, in one sentence that claims no more than the intervals allow."""
    best = result.get("best")
    if not best:
        return "No candidate could be scored, so there is no merge to show."
    if not best["test"]:
        return (
            f"The searched merge scores {_spoken(best['dev'])} on dev, where it was chosen; "
            "without a test split its gain on other examples is not known."
        )
    said = f"The searched merge scores {_spoken(best['test'])} on test"
    gain = result.get("gain")
    if not gain:
        return f"{said}."
    rival = (result["baselines"].get(gain["over"]) or {}).get("test")
    against = f"; {labels(result).get(gain['over'], gain['over'])} {_spoken(rival)}" if rival else ""
    return f"{said}{against}; {_verdict(gain)}.{_better(result)}"


def _better(result: Result) -> str:
    """The baseline that scores most of those that are one model, where that is more than the winner."""
    tested = {
        name: scores["test"]
        for name, scores in result["baselines"].items()
        if scores["test"] and name not in ("own experts", "ensemble")
    }
    name = max(tested, key=lambda name: tested[name]["score"])
    # What is written alike is equally good.
    if float(number(tested[name]["score"])) <= float(number(result["best"]["test"]["score"])):
        return ""
    known = labels(result)
    how = "The" if name in known.keys() - LABELS.keys() else "Without a search"
    return f" {how} {known.get(name, name)} scores more: {_spoken(tested[name])}."


def markdown(result: Result) -> str:
    """The table in Markdown: intervals for the means and the gains, the best of a column bold."""
    table = tabulate(result)
    head = ["", *(plain(column) for column in _headings(table))]
    lines = [[plain(row.label), *_cells(row, table.means)] for row in table.rows]
    if table.gains:
        head.append("gain over it on test")
        for line, row in zip(lines, table.rows, strict=True):
            gain = row.gain
            line.append(f"{gain.value:+.3f} {interval(gain.low, gain.high)}" if gain else "")
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines]) + "\n"


def show(result: Result) -> None:
    """Print the headline (of a result that has a winner) and the table on standard output."""
    out = console()
    if "best" in result:
        out.print(Text(headline(result)), soft_wrap=not out.is_terminal)
        out.print()
    out.print(terminal(result))


def show_standing(standing: Mapping[str, Any]) -> None:
    """Print one model's scores: the objective, then each task, with their intervals."""
    shown = RichTable(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, scores in {"mean of the tasks": standing, **standing["tasks"]}.items():
        shown.add_row(Text(name), _styled(_cell(scores), True))
    console().print(shown)


def terminal(result: Result) -> RichTable:
    """The table for a terminal; in a narrow one the intervals go under their scores."""
    table = tabulate(result)
    shown = RichTable(
        box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="dim", border_style="dim"
    )
    shown.add_column("", overflow="fold")
    for index, column in enumerate(_headings(table)):
        # The least widths hold an interval and a score, which must not be broken.
        least = len("0.000–0.000") if index < table.means else len("0.000")
        shown.add_column(Text(column), justify="right", overflow="fold", min_width=least)
    if table.gains:
        shown.add_column(Text("gain over it"), justify="right", min_width=len("+0.000"))
    for kind, rows in table.groups:
        for row in rows:
            cells = (_styled(cell, index < table.means) for index, cell in enumerate(row.cells))
            gain = row.gain and Text(f"{row.gain.value:+.3f}", style="" if row.gain.stands_out else "dim")
            shown.add_row(
                Text(row.label, style="bold" if kind == "searched" else ""),
                *cells,
                *([gain or Text("")] if table.gains else []),
            )
        shown.add_section()
    return shown


def number(value: float) -> str:
    """A score as it is written everywhere: three decimals."""
    return f"{value:.3f}"


def interval(low: float, high: float) -> str:
    """The ends of an interval as they are written everywhere."""
    return f"[{number(low)}, {number(high)}]"


def duration(seconds: float) -> str:
    """A time in the two units that matter: ``8.2 s``, ``4 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def console() -> Console:
    """Standard output; what is not a terminal has no width that a table must keep to."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200)


def _models(result: Result) -> list[tuple[str, Kind, Mapping[str, Any]]]:
    baselines: Mapping[str, Mapping[str, Any]] = result["baselines"]
    experts = [name for name in baselines if name.startswith("expert ")]
    said = labels(result)
    known = [name for name in said if name in baselines]
    others = [name for name in baselines if name not in said and name not in experts]
    models: list[tuple[str, Kind, Mapping[str, Any]]] = []
    models += [(name, "expert", baselines[name]) for name in experts]
    models += [(said.get(name, name), "baseline", baselines[name]) for name in known + others]
    if result.get("best"):
        models.append((SEARCHED, "searched", result["best"]))
    return models


def _cell(scores: Mapping[str, Any] | None) -> Cell | None:
    if scores is None:
        return None
    return Cell(scores["score"] if "score" in scores else scores["value"], scores["low"], scores["high"])


def _gain(difference: Mapping[str, float] | None) -> Cell | None:
    if difference is None:
        return None
    mean, low, high = difference["mean"], difference["low"], difference["high"]
    return Cell(mean, low, high, low > 0 or high < 0)


def _marked(column: Iterable[Cell | None], least: bool) -> list[Cell | None]:
    """Mark the best: the largest value, or the least."""
    cells = list(column)
    best = min if least else max
    # What is written alike is equally good.
    top = best((number(cell.value) for cell in cells if cell), key=float, default="")
    return [cell and Cell(cell.value, cell.low, cell.high, number(cell.value) == top) for cell in cells]


def _verdict(gain: Mapping[str, Any]) -> str:
    difference = gain["test"]
    mean, ends = difference["mean"], interval(difference["low"], difference["high"])
    if gain["seen"]:
        return f"the gain of {number(mean)} {ends} is beyond noise"
    if difference["high"] < 0:
        return f"the loss of {number(-mean)} (difference {ends}) is beyond noise"
    return f"the difference of {mean:+.3f} {ends} is within noise"


def _spoken(scores: Mapping[str, Any]) -> str:
    return f"{number(scores['score'])} {interval(scores['low'], scores['high'])}"


def _headings(table: Table) -> list[str]:
    """Column names that say which split each is of."""
    return [*(f"{mean} mean" for mean in table.columns[: table.means]), *table.columns[table.means :]]


def _cells(row: Row, means: int) -> list[str]:
    texts = []
    for index, cell in enumerate(row.cells):
        text = number(cell.value) if cell else ""
        text = f"**{text}**" if cell and cell.stands_out else text
        texts.append(f"{text} {interval(cell.low, cell.high)}" if cell and index < means else text)
    return texts


def _styled(cell: Cell | None, with_interval: bool) -> Text:
    if cell is None:
        return Text("")
    text = Text(number(cell.value), style="bold" if cell.stands_out else "")
    if with_interval:
        text.append(f" {number(cell.low)}–{number(cell.high)}", style="not bold dim")
    return text


def plain(text: str) -> str:
    """Text that Markdown takes for nothing but text."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    for sign in "\\`*_[]|":
        text = text.replace(sign, f"\\{sign}")
    return text
