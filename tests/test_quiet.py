from __future__ import annotations

from transformers.utils import logging

from searchmerge.quiet import quiet


def test_transformers_says_nothing_inside_and_is_as_before_outside() -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet():
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
