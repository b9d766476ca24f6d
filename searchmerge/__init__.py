"""Find the best merge of fine-tuned models by search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchmerge.study import load_study

__all__ = ["__version__", "load_study"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what takes a while when it is first asked for."""
    if name == "load_study":
        from searchmerge.study import load_study

        return load_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
