from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from searchmerge_example.annealing import Annealing
from searchmerge_example.line import LineSpace

from searchmerge.testing import SPACE_CHECKS, STRATEGY_CHECKS, Make, check_learns, tiny_workshop
from searchmerge.types import Dim, Space, UserError
from searchmerge.workshop import Workshop

DIMS = (Dim("a", 0.5),)


@pytest.mark.parametrize("check", [*STRATEGY_CHECKS, check_learns], ids=lambda check: check.__name__)
def test_annealing_keeps_the_contract(check: Callable[[Make], None]) -> None:
    check(Annealing)


def test_a_cold_walk_takes_gains_alone_and_a_hot_one_losses_too() -> None:
    def losses_taken(temperature: float) -> int:
        walk = Annealing(DIMS, seed=0, budget=100, temperature=temperature, step=1e-9)
        taken = 0
        for turn in range(50):
            before = walk._here
            walk.ask()
            walk.tell([-float(turn)])
            taken += turn > 0 and walk._here is not before
        return taken

    assert losses_taken(1e-9) == 0
    assert losses_taken(1e9) == 49


def test_annealing_refuses_a_temperature_of_0() -> None:
    with pytest.raises(UserError, match="above 0"):
        Annealing(DIMS, seed=0, temperature=0)


@pytest.fixture(scope="module", params=[True, False], ids=["base", "no base"])
def workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return tiny_workshop(tmp_path_factory.mktemp("models"), base=request.param)


def line(workshop: Workshop, **options: object) -> LineSpace:
    has_base = workshop.base is not None
    return LineSpace(options, experts=workshop.experts, layout=workshop.layout, has_base=has_base)


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", [{}, {"through": ["average", "second"]}], ids=["all", "average"])
def test_the_line_keeps_the_contract(
    workshop: Workshop, options: dict[str, object], check: Callable[[Space, Workshop], None]
) -> None:
    check(line(workshop, **options), workshop)


def whole(workshop: Workshop, name: str | None) -> torch.Tensor:
    """A source's parameters as its checkpoint has them."""
    found = torch.empty(workshop.layout.size)
    workshop.source(name, found)
    return found


@pytest.mark.parametrize(
    ("place", "mix"),
    [
        (0.0, {"first": 1.0}),
        (0.125, {"first": 0.75, "second": 0.25}),
        (0.5, {"second": 1.0}),
        (1.0, {"third": 1.0}),
    ],
)
def test_places_between_two_experts_are_their_weighted_means(
    workshop: Workshop, place: float, mix: dict[str, float]
) -> None:
    space = line(workshop)
    space.realise(space.decode((place,)), workshop)
    expected = sum(weight * whole(workshop, name) for name, weight in mix.items())
    torch.testing.assert_close(workshop.live, expected, rtol=0, atol=1e-6)


def test_the_line_may_start_at_the_base(tmp_path: Path) -> None:
    workshop = tiny_workshop(tmp_path)
    space = line(workshop, through=["base", "average"])
    space.realise(space.decode((0.5,)), workshop)
    mean = torch.stack([whole(workshop, name) for name in workshop.experts]).mean(dim=0)
    torch.testing.assert_close(workshop.live, (whole(workshop, None) + mean) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"through": ["first"]}, {"through": ["first", "nobody"]}, {"trough": []}]
)
def test_the_line_refuses_what_it_does_not_know(workshop: Workshop, options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        line(workshop, **options)
