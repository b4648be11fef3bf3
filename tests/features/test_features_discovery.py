from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mailwarden_features
from mailwarden.errors import ContractError, NotFound
from mailwarden_features import discover
from mailwarden_services.teams.folders import new_content_view

PACKAGE = Path(mailwarden_features.__file__).parent
EXPECTED = {
    "content_attachments",
    "content_authentication",
    "content_headers",
    "content_identity",
    "content_inner",
    "content_links",
    "content_text",
    "sender_activity",
    "sender_domain_activity",
    "recipient_activity",
    "relationship",
}

NEW_VIEW = """
from mailwarden.domain.aggregates.definitions import ActivityView, Feature, History, Measure, Total
from mailwarden.domain.aggregates.windows import W_ALL
from mailwarden.stores.feast.objects import feature_view_of

VIEW = ActivityView(
    name="{name}", version=1, owner="newcomers", description="Tried as a new user would.", keys=("sender",),
    emission="participants", measures=(Measure("messages"),), extremes=(), distincts=(),
    features=(
        Feature("history", History(), "Seen before.", "0 or 1"),
        Feature("messages_all", Total("messages", {window}), "All messages.", "messages"),
    ),
)
feature_view = feature_view_of(VIEW)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A package of one name beside the installed one, with a content view and one activity view."""
    package = "copied_features"
    root = tmp_path / package
    root.mkdir()
    (root / "__init__.py").write_text("")
    for name in ("content_links", "relationship"):
        shutil.copytree(PACKAGE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield root, package
    sys.path.remove(str(tmp_path))
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[module]


def add_view(root: Path, name: str, text: str) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "transform.py").write_text('"""Nothing apart."""\n')
    (folder / "view.py").write_text(text)
    return folder


def test_finds_every_view_in_its_folder() -> None:
    repository = discover()
    assert {view.name for view in repository.views} >= EXPECTED
    assert {view.name for view in repository.content} >= {name for name in EXPECTED if name.startswith("content_")}
    assert [view.name for view in repository.views][: len(repository.content)] == [v.name for v in repository.content]
    assert set(repository.feature_views) == {view.name for view in repository.views}
    assert len(set(repository.feature_names())) == len(repository.feature_names())


def test_tells_the_type_of_a_feature_and_the_nearest_name_of_none() -> None:
    repository = discover()
    assert repository.dtype("sender_activity:messages_30d") == "int64"
    assert repository.dtype("sender_activity:days_known") == "float64"
    assert repository.dtype("content_text:subject") == "string"
    assert repository.by_name("relationship").name == "relationship"
    with pytest.raises(NotFound, match="'sender_activity:messages_30d'"):
        repository.dtype("sender_activity:message_30d")
    with pytest.raises(NotFound, match="'relationship'"):
        repository.by_name("relationships")


def test_a_new_folder_is_found_and_nothing_else_is_edited(copy: tuple[Path, str]) -> None:
    root, package = copy
    before = discover(root, package).feature_names()
    add_view(root, "sender_pace", NEW_VIEW.format(name="sender_pace", window="W_ALL"))
    importlib.invalidate_caches()
    after = discover(root, package)
    assert set(after.feature_names()) - set(before) == {"sender_pace:history", "sender_pace:messages_all"}
    assert [entity for entity in after.feature_views["sender_pace"].entities] == ["tenant", "sender"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise RuntimeError('broken')", "broken"),
        ("import no_such_module", "no_such_module"),
        ("x = 1", "must define VIEW"),
        (NEW_VIEW.format(name="another_name", window="W_ALL"), "another_name"),
        (NEW_VIEW.format(name="bad_view", window="W_ALL").replace("feature_view = ", "other = "), "feature_view_of"),
        (NEW_VIEW.format(name="bad_view", window="W_ALL").replace('Total("messages"', 'Total("mesages"'), "mesages"),
        (NEW_VIEW.format(name="bad_view", window="W_ALL").replace('keys=("sender",)', 'keys=("senders",)'), "senders"),
    ],
)
def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(copy: tuple[Path, str], text: str, words: str) -> None:
    root, package = copy
    add_view(root, "bad_view", text)
    importlib.invalidate_caches()
    with pytest.raises(ContractError, match=words) as caught:
        discover(root, package)
    assert "bad_view" in str(caught.value)


@pytest.mark.parametrize("missing", ["__init__.py", "view.py", "transform.py"])
def test_a_folder_that_lacks_a_file_is_an_error_and_not_skipped(copy: tuple[Path, str], missing: str) -> None:
    root, package = copy
    (add_view(root, "half_view", NEW_VIEW.format(name="half_view", window="W_ALL")) / missing).unlink()
    with pytest.raises(ContractError, match=missing):
        discover(root, package)


def test_any_team_may_add_a_content_view_and_there_need_be_none(copy: tuple[Path, str]) -> None:
    root, package = copy
    folder = new_content_view(root, "content_lines", owner="newcomers", package=package)
    assert folder.name == "content_lines"
    importlib.invalidate_caches()
    found = discover(root, package)
    assert [view.name for view in found.content] == ["content_lines", "content_links"]
    assert found.feature("content_lines:line_count").unit == "lines"
    for view in found.content:
        shutil.rmtree(root / view.name)
    assert discover(root, package).content == ()


def test_what_is_left_of_a_removed_view_is_passed_over(copy: tuple[Path, str]) -> None:
    root, package = copy
    (root / "gone_view" / "__pycache__").mkdir(parents=True)
    assert "gone_view" not in discover(root, package).feature_views
