"""Who becomes champion, and who does not."""

from __future__ import annotations

import pytest

from stillhouse.errors import RecipeError
from stillhouse.lineage.lookup import open_registry
from stillhouse.registry import promote
from stillhouse.workspace import Workspace

from .conftest import Make


def champion(space: Workspace) -> str | None:
    found = open_registry(space.root).by_alias("sums", "champion")
    return found.version if found else None


def test_an_automatic_promotion_moves_the_champion(space: Workspace, make: Make) -> None:
    student = make("a")
    student.register()
    summary = student.promote()
    assert (summary.details["alias"], summary.details["text"]) == ("champion", "models:/sums/1 is champion")
    version = open_registry(space.root).resolve("models:/sums@champion")
    assert (version.version, version.tags["validation_status"]) == ("1", "approved")


def test_a_manual_promotion_says_the_command_and_moves_nothing(space: Workspace, make: Make) -> None:
    student = make("a", promote="manual")
    student.register()
    summary = student.promote()
    assert summary.details["alias"] is None
    assert summary.details["text"].endswith("stillhouse promote sums 1 champion")
    assert champion(space) is None


def test_a_student_that_failed_its_gate_is_not_promoted(space: Workspace, make: Make) -> None:
    student = make("a", after=5)
    student.register()
    assert student.promote().details["alias"] is None
    with pytest.raises(RecipeError, match="models:/sums/1 failed its gate"):
        promote("sums", "1", "champion", space.root)
    assert champion(space) is None


def test_a_race_is_refused_when_another_champion_came_first(space: Workspace, make: Make) -> None:
    slow, fast = make("slow"), make("fast")
    slow.register()
    fast.register()
    fast.promote()
    with pytest.raises(
        RecipeError, match=r"judged against the untrained student, but the champion is now models:/sums/2"
    ):
        slow.promote()
    assert champion(space) == "2"


def test_a_champion_that_was_withdrawn_in_between_is_a_race_too(space: Workspace, make: Make) -> None:
    first, second = make("a", after=20), make("b")
    first.register()
    first.promote()
    second.register()
    open_registry(space.root).store.client.delete_registered_model_alias("sums", "champion")
    with pytest.raises(RecipeError, match=r"judged against models:/sums/1, but the champion is now none"):
        second.promote()


def test_a_version_whose_evidence_tag_was_changed_is_not_promoted(space: Workspace, make: Make) -> None:
    student = make("a")
    student.register()
    client = open_registry(space.root).store.client
    client.set_model_version_tag("sums", "1", "stillhouse.gate.evidence_sha256", "0" * 64)
    with pytest.raises(RecipeError, match="is not the evidence that was judged"):
        student.promote()
    assert champion(space) is None


def test_promoting_twice_does_not_fight_a_rollback(space: Workspace, make: Make) -> None:
    first, second = make("a", after=20), make("b")
    first.register()
    first.promote()
    second.register()
    second.promote()
    assert promote("sums", 1, "champion", space.root) == "models:/sums/1 is champion; it was version 2"
    second.promote()
    assert champion(space) == "1"


@pytest.mark.parametrize(
    ("name", "version", "alias", "words"),
    [
        ("sums", "1", "champoin", "alias 'champoin' is unknown; did you mean champion?"),
        ("sum", "1", "champion", "no registered model 'sum'; did you mean sums?"),
        ("sums", "7", "champion", "sums has no version 7; its versions: 1"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(
    space: Workspace, make: Make, name: str, version: str, alias: str, words: str
) -> None:
    make("a").register()
    with pytest.raises(RecipeError) as caught:
        promote(name, version, alias, space.root)
    assert words in str(caught.value)
