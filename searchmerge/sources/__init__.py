"""Source models: what they are by their headers, and whether they belong together."""

from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.sources.family import Sources

__all__ = ["Checkpoint", "Sources"]
