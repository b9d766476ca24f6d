"""Whether experts should be merged at all: their weights and the line between them, measured and judged."""

from searchmerge.compatibility.examination import Findings, Relation, examine
from searchmerge.compatibility.verdict import Verdict, of_pair, overall, refusal

__all__ = ["Findings", "Relation", "Verdict", "examine", "of_pair", "overall", "refusal"]
