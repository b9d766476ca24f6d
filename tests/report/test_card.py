from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from searchmerge.report import card
from searchmerge.report.table import headline, markdown
from tests.report.runs import recipe, result


def recipe_file(**refs: tuple[str, str | None]) -> dict[str, Any]:
    sources = {
        name: {"ref": ref, "fingerprint": f"{number:064x}", "license": license_}
        for number, (name, (ref, license_)) in enumerate(refs.items(), start=1)
    }
    return {
        "format": 1,
        "searchmerge": "0.1.0",
        "models": {"base": sources.pop("base", None), "experts": sources, "heads": ["classifier.*"]},
        "heads": {"sentiment": "reviews", "topics": "merged"},
        "recipe": recipe(tuple(sources)),
    }


FILE = recipe_file(
    base=("org/base-model", "apache-2.0"),
    reviews=("someone/reviews.v2", None),
    tweets=("/home/somebody/private/tweets", "apache-2.0"),
)


def front_matter(text: str) -> dict[str, Any]:
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert match
    data = yaml.safe_load(match.group(1))
    assert isinstance(data, dict)
    return data


def test_the_front_matter_is_the_hubs() -> None:
    text = card.text(FILE, result())
    expected = {
        "base_model": ["org/base-model", "someone/reviews.v2"],
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-classification",
        "tags": ["merge", "searchmerge"],
    }
    assert front_matter(text) == expected
    assert yaml.safe_load(ModelCard(text, ignore_metadata_errors=False).data.to_yaml()) == expected


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [(("mit", "mit"), "mit"), (("mit", None), "mit"), (("mit", "apache-2.0"), None), ((None, None), None)],
)
def test_a_license_is_given_where_the_known_ones_agree(
    licenses: tuple[str | None, str | None], expected: str | None
) -> None:
    first, second = licenses
    text = card.text(recipe_file(reviews=("a/b", first), tweets=("c/d", second)), result())
    assert front_matter(text).get("license") == expected


def test_local_folders_are_named_by_their_last_part_alone() -> None:
    text = card.text(FILE, result())
    assert "somebody" not in text
    assert "tweets (local)" in text
    assert "[org/base-model](https://huggingface.co/org/base-model)" in text


@pytest.mark.parametrize("ref", ["/a/b", "./a", "../a/b", "~/a", "C:\\models\\a", "a/b/c", ".hidden"])
def test_a_path_is_no_hub_id(ref: str) -> None:
    text = card.text(recipe_file(reviews=(ref, None), tweets=("org/tweets", None)))
    assert front_matter(text)["base_model"] == ["org/tweets"]


def test_the_card_carries_scores_and_recipe() -> None:
    found = result()
    text = card.text(FILE, found)
    assert markdown(found) in text
    assert headline(found) in text
    block = re.search(r"```json\n(.*?)\n```", text, re.DOTALL)
    assert block
    written = json.loads(block.group(1))
    assert written["models"]["experts"]["tweets"].pop("ref") == "path/to/tweets"
    expected = json.loads(json.dumps(FILE))
    del expected["models"]["experts"]["tweets"]["ref"]
    assert written == expected
    assert "arxiv.org/abs/2306.01708" in text
    assert "heads/sentiment.safetensors" in text
    assert "heads/topics" not in text


def test_a_plain_merge_has_no_scores() -> None:
    text = card.text({**FILE, "heads": {"sentiment": "merged"}})
    assert "## Scores" not in text
    assert "## Heads" not in text
    assert front_matter(text)["tags"] == ["merge", "searchmerge"]


def test_hostile_names_change_neither_metadata_nor_layout() -> None:
    name = "```\n---\nlicense: mit\n---\n<script>|x"
    text = card.text(
        recipe_file(**{name: ("/x/y", None), "tweets": ("org/tweets", None)}), result((name, "t"))
    )
    assert "license" not in front_matter(text)
    assert text.count("```") == 2
    assert "<script>" not in text.partition("```json")[0]


def test_a_recipe_of_another_space_needs_no_method() -> None:
    text = card.text({**FILE, "recipe": {"space": "elsewhere", "path": []}}, result())
    assert "A merge of fine-tuned models, made by searchmerge 0.1.0." in text
