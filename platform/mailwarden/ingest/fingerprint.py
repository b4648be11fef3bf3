"""What facts are made by: a fingerprint of the parser's code and of all that takes facts from what it read."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ROOT = "mailwarden.ingest.receive"
_FOLLOWED = ("mailwarden.domain", "mailwarden.ingest")


@cache
def facts_fingerprint() -> str:
    """16 hex digits over all that decides which facts a message gets, beside its tenant's settings.

    That is `ingest.receive` with the modules of the parser and the domain that it imports, however far, the versions
    of the packages that these import, and of Unicode. Comments, docstrings and layout do not count. Another value
    under the same `FACTS_VERSION` need not mean other facts, and is told of: see `stores.lake.fact_sets`.
    """
    digest = hashlib.blake2b(unicodedata.unidata_version.encode(), digest_size=8)
    left, seen, packages = [_ROOT], set[str](), set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        for imported in _imports(name):
            if any(imported.startswith(f"{root}.") for root in _FOLLOWED):
                left += [imported] if _path(imported) is not None else []
            elif imported.partition(".")[0] not in {*sys.stdlib_module_names, "mailwarden"}:
                packages.add(imported.partition(".")[0])
    for name in sorted(seen):
        digest.update(f"{name}\0{ast.dump(_tree(name))}\0".encode())
    for package in sorted(packages):
        digest.update(f"{package}\0{_version(package)}\0".encode())
    return digest.hexdigest()


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _path(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


@cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    tree = ast.parse(path.read_bytes() if path is not None else b"")
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [line for line in body if not _is_words(line)]
    return tree


def _is_words(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(package, ())
    return ",".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names)))
