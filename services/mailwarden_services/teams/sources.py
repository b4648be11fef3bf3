"""Sources that are laid out for teams: names that a folder may have, and folders written whole or not at all."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mailwarden.errors import ConfigError

_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def free_folder(root: Path, name: str, what: str) -> Path:
    """The folder of a new view or detector; raises ConfigError on a name that cannot be, or is taken.

    root: folder of the folders of its kind. what: the kind, for people.
    """
    if not _SNAKE.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigError(f"{name!r} is no name for a {what}: small letters, digits and single underscores, as in a_b")
    if (root / f"{name}.py").exists():
        raise ConfigError(f"{name!r} is the name of a module in {root}; choose another one")
    folder = root / name
    if folder.exists():
        raise ConfigError(f"{folder} is there already; choose another name")
    return folder


def lay_out(folder: Path, texts: Mapping[str, str]) -> Path:
    """Write files into a new folder and return it; where this raises, no part of it is there."""
    # Discovery passes over what begins with a dot.
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for file, text in texts.items():
            (made / file).write_text(text, encoding="utf-8")
        made.chmod(0o755)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made)
        raise
    return folder


def quoted(text: str) -> str:
    """A string literal as the formatter would write it: with the quotes that need no backslash."""
    if not text.isprintable() or ('"' in text and "'" not in text):
        return repr(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
