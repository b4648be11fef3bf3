"""The examples of the features' README are code that runs, and none of the kinds there are is left out."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import mailwarden_features
from mailwarden.domain.aggregates import definitions, windows
from mailwarden.domain.aggregates.definitions import Distinct, Extreme, Measure, Peak, Recent
from mailwarden.domain.aggregates.expressions import EXPRESSIONS
from mailwarden.domain.mail.message import Url
from mailwarden.stores.lists import load_lists
from mailwarden.testing.check_leaks import check_folder
from mailwarden.testing.check_view import check_view
from mailwarden.testing.messages import message_of
from mailwarden_features import discover

README = (Path(mailwarden_features.__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"^\| [^|]+ \| `(\*?\w+\(.*?\))` \|", README, re.MULTILINE)
NAMES = {**vars(windows), **vars(definitions)}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_what_it_is_said_to_be(example: str) -> None:
    made = eval(f"[{example}]", dict(NAMES))
    assert made and all(is_dataclass(part) for part in made)


def test_every_kind_of_aggregate_and_expression_has_an_example() -> None:
    shown = {example.split("(")[0].strip("*") for example in EXAMPLES}
    kinds = [*EXPRESSIONS, Measure, Peak, Extreme, Distinct, Recent]
    assert shown >= {kind.__name__ for kind in kinds}


def test_every_view_is_told_of() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", README, re.MULTILINE))
    for view in discover().activity:
        assert told[view.name].strip().split(", ") == list(view.keys or ("(tenant)",))


def test_every_content_view_is_told_of() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", README, re.MULTILINE))
    assert {view.name: told.get(view.name, "").strip() for view in discover().content} == {
        view.name: "message" for view in discover().content
    }


def test_the_content_view_of_the_example_keeps_its_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transform, view = (
        next(code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if words in code)
        for words in ("def compute(", "ContentView(")
    )
    folder = tmp_path / "readme_features" / "content_shortened"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "transform.py").write_text(transform)
    (folder / "view.py").write_text(view.replace("mailwarden_features", "readme_features"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = discover(tmp_path / "readme_features", "readme_features").content
    assert check_view(found, lists=load_lists()) == [] and check_folder(folder) == []
    link = Url("https://bit.ly/x", "", "bit.ly", "bit.ly", "html")
    assert found.compute(message_of(urls=(link,)), load_lists()) == {"shortened": 1}
