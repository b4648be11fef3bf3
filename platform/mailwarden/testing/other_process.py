"""Asks a function in another world: `elsewhere`, a process of its own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from mailwarden.errors import ContractError

_ELSEWHERE = "mailwarden.testing.elsewhere"
_SECONDS = 120.0


def can_be_asked(what: Any) -> bool:
    """Whether a function or class can be imported in another process: one made inside of a function or test cannot."""
    module, name = getattr(what, "__module__", ""), getattr(what, "__qualname__", "<")
    return "<" not in name and bool(module) and PathFinder.find_spec(module.partition(".")[0]) is not None


def ask_elsewhere(
    module: str, name: str, questions: Sequence[Any], lists: Any = None, *, first: str = ""
) -> list[tuple[Any, str]]:
    """What a module's function says to each question and `lists`, and the words of what it raised, "" for nothing.

    There it is another time, in another zone, under another hash seed, environment and folder, and without network.
    first: a module with compiled libraries, which is imported before the time is another, and whose `datetime` is not.
    Raises ContractError where no such process can be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Of another length too: a value may be made of no more than that.
        place = Path(folder) / "elsewhere"
        if len(str(place)) == len(os.getcwd()):
            place = Path(folder) / "far-elsewhere"
        place.mkdir()
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", _ELSEWHERE],
                input=pickle.dumps((module, name, tuple(questions), lists, first)),
                capture_output=True,
                cwd=place,
                timeout=_SECONDS,
                env={
                    "PATH": os.defpath,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    "PYTHONHASHSEED": "20011",
                    "TZ": "Pacific/Kiritimati",
                    "LANG": "C",
                },
            )
        except subprocess.TimeoutExpired as error:
            raise ContractError(f"it did not end within {_SECONDS:.0f} seconds") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        raise ContractError(last[0])
    answers: list[tuple[Any, str]] = pickle.loads(done.stdout)
    return answers
