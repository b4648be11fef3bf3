"""What content values and facts are made by: fingerprints of the code, the parser's and the lists that are named."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from mailwarden.domain.mail.content import ContentSet, ContentView
from mailwarden.domain.mail.lists import Lists
from mailwarden.stores.redirector_list import redirectors_in_use

PARSER = "mailwarden.ingest.parse"
"""The module that a Message comes from, named and not imported: the parser is a stage above the stores."""

RECEIVER = "mailwarden.ingest.receive"
"""The module that a message's facts come from: the parser, and what takes facts from what it read."""

_FOLLOWED = ("mailwarden.domain", "mailwarden.ingest", "mailwarden_features")
"""Packages whose modules count where something that counts imports them."""


def content_set(views: Iterable[ContentView], lists: Lists) -> ContentSet:
    """The views ready to be computed, with their fingerprints."""
    chosen = tuple(views)
    return ContentSet(chosen, lists, {view.name: fingerprint_of(view, lists) for view in chosen})


def fingerprint_of(view: ContentView, lists: Lists) -> int:
    """48 bits of a digest over all that decides what a message's values are.

    That is the module of the view's function with the modules of ours that it imports, however far; the same of the
    parser; the versions of other packages that these import; features by name and type, what the view reads, and the
    lists that it names, with the one that the parser reads (`redirectors`). Comments, docstrings and layout do not
    count, nor do words about features. Raises NotFound where the view names a list that is not there.
    """
    digest = hashlib.blake2b(digest_size=6)
    _add(digest, [(f.name, f.dtype, f.text) for f in view.features], sorted(view.reads), sorted(set(view.lists)))
    _add(digest, lists.fingerprint_of(view.lists) if view.lists else "", redirectors_in_use().fingerprint)
    _add_code(digest, getattr(view.compute, "__module__", "") or "", PARSER)
    return int.from_bytes(digest.digest(), "little")


def facts_fingerprint() -> str:
    """12 hex digits over all that decides which facts a message gets, beside its tenant's settings; see above.

    Another value under the same `FACTS_VERSION` need not mean other facts, and is told of: see `lake.fact_sets`.
    """
    digest = hashlib.blake2b(digest_size=6)
    _add(digest, redirectors_in_use().fingerprint)
    _add_code(digest, RECEIVER)
    return digest.hexdigest()


def _add_code(digest: hashlib.blake2b, *roots: str) -> None:
    _add(digest, unicodedata.unidata_version)
    modules, packages = _closure(roots)
    for name in modules:
        _add(digest, name, _digest_of(name))
    for package in packages:
        _add(digest, package, _version_of(package))


def _add(digest: hashlib.blake2b, *parts: object) -> None:
    digest.update(repr(parts).encode())


@lru_cache(maxsize=256)
def _closure(roots: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Modules of ours that these import, these included, and other packages that any of them imports; sorted."""
    found: dict[str, None] = {}
    others: set[str] = set()
    left = [name for name in roots if _source_of(name) is not None]
    while left:
        name = left.pop()
        if name in found:
            continue
        found[name] = None
        for imported in _imports(name):
            if any(imported == root or imported.startswith(f"{root}.") for root in _FOLLOWED):
                left.append(imported)
            elif imported.partition(".")[0] not in sys.stdlib_module_names and not imported.startswith("mailwarden"):
                others.add(imported.partition(".")[0])
    return tuple(sorted(found)), tuple(sorted(others))


def _imports(module: str) -> tuple[str, ...]:
    return _read(module)[0]


@lru_cache(maxsize=512)
def _read(module: str) -> tuple[tuple[str, ...], str]:
    """What a module imports, and a digest of what it does: its syntax tree without strings that stand alone.

    One tree for both, and each module once, however many views rest on it: parsing is most of what this page costs.
    """
    source = _source_of(module)
    tree = ast.parse(b"" if source is None else source.read_bytes())
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module.rpartition(".")[0]
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            imports.append(base)
            imports += [name for alias in node.names if _source_of(name := f"{base}.{alias.name}") is not None]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [line for line in body if not _is_words(line)]
    return tuple(imports), hashlib.blake2b(ast.dump(tree).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=512)
def _source_of(module: str) -> Path | None:
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded:
        return Path(loaded) if loaded.endswith(".py") else None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _digest_of(module: str) -> str:
    return _read(module)[1]


def _is_words(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


@lru_cache(maxsize=64)
def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        names = _distributions().get(package, ())
        return ",".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names)))


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
