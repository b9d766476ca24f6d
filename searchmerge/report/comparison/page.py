"""The page of a comparison, with its figures and tables as files beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from searchmerge.files import output_folder, write_text
from searchmerge.report import figures
from searchmerge.report.comparison import drawings, words
from searchmerge.report.comparison.content import read
from searchmerge.report.comparison.drawings import Drawing
from searchmerge.report.comparison.look import DARK, LIGHT, looks
from searchmerge.report.comparison.tables import tables
from searchmerge.report.comparison.winners import SMALL
from searchmerge.report.comparison.writers import as_csv, as_latex, as_markdown
from searchmerge.report.template import as_yaml, template


@dataclass(frozen=True)
class _Shown:
    """A figure on the page."""

    drawing: Drawing
    drawn: Markup


def write(folder: Path) -> Path:
    """Write ``report.html``, ``figures/`` and ``tables/`` into the folder of a comparison.

    Returns:
        The page's path.

    Raises:
        UserError: no comparison lies there, a file of it is damaged, or something cannot be written.
    """
    compared = read(folder)
    parts = drawings.parts(folder, compared)
    out = output_folder(folder / "tables")
    made = {table.name: table for table in tables(compared)}
    for name, table in made.items():
        write_text(out / f"{name}.csv", as_csv(table))
        write_text(out / f"{name}.md", as_markdown(table))
        write_text(out / f"{name}.tex", as_latex(table))
    page = template("comparison/page.html").render(
        compared=compared,
        content=compared.content,
        statistics=compared.statistics,
        sentences=words.sentences(compared),
        warnings=list(words.warnings(compared)),
        references=words.references(compared),
        light=LIGHT,
        dark=DARK,
        look=looks(compared.strategies),
        tables=made,
        **{part: _drawn(folder, every) for part, every in parts.items()},
        read_paths=drawings.how_to_read_paths(folder, compared),
        facts=words.facts(compared),
        config=as_yaml(compared.content.get("config") or {}),
        versions=compared.content.get("versions") or {},
        method=words.method(compared, compared.statistics) if compared.statistics else "",
        sources=words.SOURCES,
        address=lambda path: quote(f"./{path}"),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _drawn(folder: Path, every: Iterable[Drawing]) -> list[_Shown]:
    """Write figures as files, and give them for the page."""
    out = output_folder(folder / "figures")
    shown = []
    for each in every:
        figure = each.draw(width=SMALL if each.small else figures.WIDE)
        drawn = Markup(figures.svg(figure, each.title, LIGHT))
        if not each.small:
            narrow = figures.svg(each.draw(width=figures.NARROW), each.title, LIGHT)
            drawn = Markup(f'<div class="wide">{drawn}</div><div class="narrow">{narrow}</div>')
        # Saved last: a file has a ground, the page's figure has none.
        figures.save_png(figure, out / f"{each.name}.png")
        figures.save_svg(figure, out / f"{each.name}.svg")
        shown.append(_Shown(each, drawn))
    return shown
