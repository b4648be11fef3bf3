"""What the domain may be made of: the standard library, five packages and itself."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import mailwarden.domain

DOMAIN = Path(mailwarden.domain.__file__).parent
PACKAGES = {"numpy", "datasketches", "idna", "tldextract", "yaml"}
OWN = ("mailwarden.domain", "mailwarden.errors", "mailwarden.compiled", "mailwarden.patterns")


def imported(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports in the domain are absolute"
            found.add(node.module or "")
    return found


def test_the_domain_imports_nothing_but_what_it_may() -> None:
    files = sorted(DOMAIN.rglob("*.py"))
    assert len(files) > 10
    for file in files:
        for name in imported(file.read_text()):
            root = name.partition(".")[0]
            allowed = root in PACKAGES | sys.stdlib_module_names or any(f"{name}.".startswith(f"{o}.") for o in OWN)
            assert allowed, f"{file.name} imports {name}"
