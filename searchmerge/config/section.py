"""What every section of a config has in common, and where examples come from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A section: unknown keys are refused, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Section):
    """Where the examples of one split come from: a local file, or a data set of the hub."""

    path: str | None = None
    dataset: str | None = None
    name: str | None = None
    split: str | None = None
    limit: int | None = Field(default=None, ge=1, description="take only the first so many examples")

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path (a local file) or dataset (a hub id)")
        if self.dataset is not None and self.split is None:
            raise ValueError("a hub data set needs its split")
        return self
