"""What the pages share: how their templates are filled, and words that stand on each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from searchmerge.report.table import interval, number


def template(name: str) -> Template:
    """The template of that name in this folder; what it is filled with is only text."""
    environment = Environment(
        loader=PackageLoader("searchmerge.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, interval=interval, light=_light)
    return environment.get_template(name)


def leaks(result: Mapping[str, Any]) -> str:
    """What to be wary of where texts stand in two places; empty where none do."""
    found = [f"{leak['count']} of {leak['of']} in {leak['between']}" for leak in result.get("leaks", ())]
    return f"Some texts are the same in two places, which flatters scores: {'; '.join(found)}." * bool(found)


def as_yaml(config: Mapping[str, Any]) -> str:
    """A config as its user may have written it."""
    return yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True, width=100)


def _light(text: str) -> Markup:
    """The text with its intervals set in a lighter weight and never broken."""
    return Markup(re.sub(r"(\[[^\]]*\])", r'<span class="ci">\1</span>', str(escape(text))))
