"""`bench teacher` and `bench student` on the tiny models: that each contender runs and counts its work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from workspaces import Workspace

if TYPE_CHECKING:
    from tiny_models import TinyModels


def comparisons(folder: Path, models: TinyModels, *arguments: str) -> dict[str, Any]:
    """Of the command's JSON."""
    names = ("--teacher", models.teacher, "--student", models.student)
    ending = Workspace(folder).llm2llm("bench", *arguments, "--repeats", "1", "--json", *names)
    assert ending.code == 0, ending.err
    document = ending.json()
    assert isinstance(document, dict)
    for comparison in document["comparisons"]:
        for one in comparison["contenders"]:
            assert one["not_run"] is None, one
            assert all(count > 0 for count in one["repeats"][0]["counts"].values())
    return document


@pytest.mark.model
def test_the_teachers_contenders_write_as_many_replies(tmp_path: Path, tiny_models: TinyModels) -> None:
    sizes = {"n_requests": 3, "n_parallel": 2, "prefix_words": 30, "suffix_words": 10, "new_tokens": 4}
    words = [word for name, size in sizes.items() for word in ("--size", f"{name}={size}")]
    document = comparisons(tmp_path, tiny_models, "teacher", *words, "--grow", "2,4")
    (comparison,) = document["comparisons"]
    for one in comparison["contenders"]:
        assert one["repeats"][0]["counts"]["requests"] == 3
    (series,) = document["series"]
    assert [one["contenders"][0]["repeats"][0]["counts"]["requests"] for one in series["at"]] == [2, 4]
