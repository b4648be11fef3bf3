"""Pages of docs/ against the code: the glossary's words live where it says, and what pages name is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PLATFORM, SERVICES = ROOT / "platform" / "mailwarden", ROOT / "services" / "mailwarden_services"
ENTRY = re.compile(r"^\*\*(.+?)\*\*: (.+?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
COINED = set(
    """
    slot edge level ring reach recipe mark generation emission way hop watermark lease portion held extreme peak bucket
    coupon listed ideal truth spool contacts home intake champion bundle fold_row recent_set suffix_row due_seq
    fact_set reparse signal campaign cluster signature budget aspect unread lane content_set standing
    """.split()  # noqa: SIM905
)


def entries() -> dict[str, str]:
    return {name: text for name, text in ENTRY.findall((DOCS / "glossary.md").read_text())}


def place(path: str) -> Path:
    if path.startswith("feature_repo/"):
        return ROOT / path
    return SERVICES / path.removeprefix("services/") if path.startswith("services/") else PLATFORM / path


@cache
def definitions() -> frozenset[str]:
    """Every name that the code defines: of a function, a class, a method, or at the top of a module."""

    def named(tree: ast.AST) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id

    return frozenset(
        name
        for root in (PLATFORM, SERVICES)
        for file in root.rglob("*.py")
        for name in named(ast.parse(file.read_text()))
    )


def test_the_glossary_has_every_coined_word_once_and_in_order() -> None:
    names = [name for name, _ in ENTRY.findall((DOCS / "glossary.md").read_text())]
    assert names == sorted(names) and len(set(names)) == len(names)
    assert {name.replace(" ", "_") for name in names} >= COINED


@pytest.mark.parametrize("name", entries())
def test_a_word_lives_where_the_glossary_says(name: str) -> None:
    text = " ".join(entries()[name].split())
    paths = re.findall(r"`([a-z_/]+\.py)`", text.rpartition(" In ")[2])
    assert paths, "say where it lives"
    for path in paths:
        # Words of two parts are names of two parts in code; verbs come as `joined`, `retiring`.
        stem = "(?<![a-z])" + re.escape(name.removesuffix("e")).replace(r"\ ", "[ _-]?")
        assert re.search(stem, f"{path} {place(path).read_text()}", re.IGNORECASE), path


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_points_at_is_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["generations", "glossary", "packed-state"])
def test_what_a_page_on_our_code_names_is_defined(page: str) -> None:
    text = re.sub(r"```.*?```", "", (DOCS / f"{page}.md").read_text(), flags=re.DOTALL)
    called = set(re.findall(r"`([A-Za-z_]+)\(\)`", text)) | set(re.findall(r"`([A-Z][A-Za-z_]{2,})`", text))
    called = {name for name in called if not name.startswith("MAILWARDEN_")}
    assert called <= definitions(), sorted(called - definitions())
