"""What a content view's fingerprint follows, and what it does not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mailwarden.domain.mail.content import ContentView, count
from mailwarden.domain.mail.lists import NO_LISTS, Lists, lists_of
from mailwarden.errors import NotFound
from mailwarden.stores import content_code
from mailwarden.stores.content_code import PARSER, fingerprint_of

PACKAGE = "mailwarden_features.fingerprinted"

TRANSFORM = '''"""Counts links."""

from mailwarden_features.fingerprinted.terms import TERMS


def compute(message, lists):
    """How many."""
    return {"n": len(message.urls) + len(TERMS)}
'''
TERMS = '"""Terms."""\n\nTERMS = ("a", "b")\n'


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A view's folder that is taken for one of the feature repository's."""
    import mailwarden_features

    made = tmp_path / "fingerprinted"
    made.mkdir()
    (made / "__init__.py").write_text("")
    (made / "transform.py").write_text(TRANSFORM)
    (made / "terms.py").write_text(TERMS)
    mailwarden_features.__path__.append(str(tmp_path))
    importlib.invalidate_caches()
    yield made
    mailwarden_features.__path__.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def view_of(lists: tuple[str, ...] = ()) -> ContentView:
    compute = importlib.import_module(f"{PACKAGE}.transform").compute
    features = (count("n", "Links.", "links"),)
    return ContentView("fingerprinted", 1, "team", "Links.", features, compute, ("links",), 1.0, lists)


def now(view: ContentView, lists: Lists = NO_LISTS) -> int:
    """As another process would compute it: nothing is remembered."""
    for remembered in (content_code._closure, content_code._source_of, content_code._read):
        remembered.cache_clear()
    return fingerprint_of(view, lists)


def test_the_parser_and_all_that_it_imports_count() -> None:
    modules, packages = content_code._closure((PARSER,))
    assert {PARSER, "mailwarden.ingest.mime", "mailwarden.domain.mail.addresses"} <= set(modules)
    assert "mailwarden.ingest.pipeline" not in modules and "tldextract" in packages


def test_code_counts_and_words_about_it_do_not(folder: Path) -> None:
    view = view_of()
    before = now(view)
    assert 0 <= before < 2**48 and now(view) == before
    (folder / "transform.py").write_text(TRANSFORM.replace("How many.", "How many there are.") + "\n# a comment\n")
    (folder / "terms.py").write_text(TERMS.replace('("a", "b")', '(\n    "a",\n    "b",\n)'))
    (folder / "view.py").write_text("VIEW = 1\n")
    assert now(view) == before
    assert now(replace(view, owner="others", description="Of links.", cost_us=7.0)) == before
    (folder / "terms.py").write_text(TERMS.replace('"b"', '"c"'))
    terms = now(view)
    (folder / "terms.py").write_text(TERMS)
    (folder / "transform.py").write_text(TRANSFORM.replace("message.urls", "message.to"))
    assert len({before, terms, now(view)}) == 3


def test_features_what_is_read_and_versions_of_packages_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of()
    found = {
        now(view), now(replace(view, reads=("links", "text"))),
        now(replace(view, features=(*view.features, count("m", "More.", "links")))),
    }  # fmt: skip
    monkeypatch.setattr(content_code, "_version_of", lambda package: "another")
    assert len(found | {now(view)}) == 4


def test_the_lists_that_it_names_count_and_no_other(folder: Path) -> None:
    lists = {"shorteners": ["bit.ly"], "free_mail": ["post.example"]}
    view = view_of(("shorteners",))
    before = now(view, lists_of(lists))
    assert now(view, lists_of(lists | {"free_mail": []})) == before
    assert now(view, lists_of(lists | {"shorteners": ["bit.ly", "t.co"]})) != before
    with pytest.raises(NotFound, match="shorteners"):
        fingerprint_of(view, NO_LISTS)


def test_facts_have_a_fingerprint_of_the_parser_and_of_what_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    modules, packages = content_code._closure((content_code.RECEIVER,))
    assert {f"mailwarden.domain.mail.{name}" for name in ("addresses", "facts", "fingerprints")} <= set(modules)
    assert {"idna", "tldextract"} <= set(packages)
    before = content_code.facts_fingerprint()
    assert before == content_code.facts_fingerprint() and len(before) == 12
    monkeypatch.setattr(content_code, "_version_of", lambda package: "another")
    assert content_code.facts_fingerprint() != before
