"""What the measurements say: merge, merge with care, or do not merge.

Every threshold is a constant with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Literal

from searchmerge.compatibility.examination import BASE, Findings, Relation
from searchmerge.sources.kinship import FAR, UNRELATED
from searchmerge.types import UserError

MOVED = 0.5
"""Least share of an MLP's units in place. Fine-tuning leaves nearly all (the demo's experts: all), another
initialisation or order one of n. A half is far from both."""

LOOSE = 0.95
"""Below this share, units have come so far that training has begun to exchange them: nothing that a usual
fine-tuning does."""

SAME = 0.5
"""Least cosine, once matched, of MLPs that differ in their units' order alone: there it is near 1, between
unrelated MLPs 0.1 to 0.3, since the best order of random units is chosen to fit."""

BARRIER = 0.02
"""A drop that counts: Frankle et al. call networks with a barrier below two points stable, since runs of one
network differ as much. It must also be beyond the dev set's noise."""

OPPOSED = -0.1
"""The cosine below which experts oppose one another: adding the other one undoes a tenth of a change.
Task vectors of unrelated tasks lie near 0 (Ilharco et al. 2023, figure 5)."""

Word = Literal["merge", "merge with care", "do not merge"]


@dataclass(frozen=True)
class Verdict:
    """A word, and why."""

    word: Word
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.word}: {'; '.join(self.reasons)}" if self.reasons else self.word


def of_pair(pair: Relation) -> Verdict:
    """Whether two experts should be merged."""
    if reason := apart(pair):
        return Verdict("do not merge", (reason,))
    reasons = []
    if (worst := pair.worst) and worst.in_place < LOOSE:
        reasons.append(f"{1 - worst.in_place:.0%} of the MLP units in {worst.layer} have changed places")
    if pair.cosine and pair.cosine.whole < OPPOSED:
        reasons.append(f"their task vectors oppose one another (cosine {pair.cosine.whole:.2f})")
    if pair.line and pair.line.barrier > BARRIER and pair.line.low > 0:
        reasons.append(f"between them dev drops {pair.line.barrier:.3f} below the straight line")
    if pair.line and isnan(pair.line.barrier):
        reasons.append("a merge of them gives logits that are not finite")
    return Verdict("merge with care" if reasons else "merge", tuple(reasons))


def apart(pair: Relation) -> str | None:
    """Why two models cannot be merged entry by entry, or None."""
    moved = [match for match in pair.matches if match.in_place < MOVED]
    both = f"{pair.one} and {pair.other}"
    if not moved:
        far = pair.weights < UNRELATED
        return f"{both} do not share a base (cosine of weights {pair.weights:z.2f})" if far else None
    where = "" if len(moved) == len(pair.matches) else f" in {', '.join(match.layer for match in moved)}"
    after = sum(match.cosine for match in moved) / len(moved)
    measured = f"MLP units in place {pair.in_place:.0%}, cosine of weights {pair.weights:z.2f}"
    if after >= SAME:
        return (
            f"{both} hold the same MLP units{where} in another order ({measured}, once matched {after:.2f})"
        )
    return f"{both} do not share a base{where} ({measured})"


def strangers(findings: Findings) -> dict[str, str]:
    """The models outside the largest family of related ones, and why; :data:`BASE` may be one of them."""
    relations = [*findings.origins, *findings.pairs]
    names = [BASE, *findings.experts] if findings.origins else findings.experts
    # Each begins as a family of its own; each two that are related join theirs.
    families = {name: {name} for name in names}
    for relation in relations:
        if not apart(relation):
            joined = families[relation.one] | families[relation.other]
            families.update(dict.fromkeys(joined, joined))
    largest = max(families.values(), key=len)  # of equals the first one: the base's
    return {
        name: next(
            reason
            for r in relations
            if name in (r.one, r.other) and {r.one, r.other} & largest and (reason := apart(r))
        )
        for name in names
        if name not in largest
    }


def overall(findings: Findings) -> Verdict:
    """Whether all of them should be merged."""
    if foreign := strangers(findings):
        return Verdict("do not merge", tuple(foreign.values()))
    cares = [
        f"{pair.one} and {pair.other}: {'; '.join(verdict.reasons)}"
        for pair in findings.pairs
        if (verdict := of_pair(pair)).reasons
    ]
    cares += [
        f"{name} is far from the base ({distance.whole:.2f} of its norm)"
        for name, distance in findings.distances.items()
        if distance.whole > FAR
    ]
    return Verdict("merge with care" if cares else "merge", tuple(cares))


def refusal(findings: Findings) -> UserError | None:
    """What to tell the user whose models do not belong together; None where they do."""
    foreign = strangers(findings)
    if not foreign:
        return None
    if BASE in foreign:
        cure = "name the model that the experts were fine-tuned from as models.base"
    else:
        cure = f"leave {', '.join(foreign)} out of models.experts"
    if any("another order" in reason for reason in foreign.values()):
        cure += ", or put the units back in order first (weight matching, arXiv:2209.04836)"
    return UserError(
        expected="experts that were fine-tuned from one base", got="; ".join(foreign.values()), cure=cure
    )
