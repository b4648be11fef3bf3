"""A detector's bytes, and what the registry records beside them."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np

from mailwarden.errors import DataError
from mailwarden.testing.detector_trial import Fault, Trial, said

_CODE = {"builtins": ("exec", "eval", "compile"), "_pickle": ("load", "loads"), "marshal": ("load", "loads")}


def to_bytes(trial: Trial) -> Iterator[Fault]:
    """Its bytes give a detector of the same scores, categories and reasons."""
    data = trial.detector.to_bytes()
    if not isinstance(data, bytes):
        yield f"to_bytes gave {type(data).__name__}", "give bytes"
        return
    again, table, mend = trial.kind.from_bytes(data), trial.table(), "write all that was learned, at full precision"
    if not np.array_equal(said(trial.detector, table), said(again, table)):
        yield "the detector read back scores differently", mend
    if trial.detector.categorise(table) != again.categorise(table):
        yield "the detector read back gives other categories", mend
    if any(trial.detector.explain(table, row) != again.explain(table, row) for row in range(table.n)):
        yield "the detector read back gives other reasons", mend


def foreign_bytes(trial: Trial) -> Iterator[Fault]:
    """Bytes that are no detector, or a part of one, raise DataError."""
    own = trial.detector.to_bytes()
    for data in (b"", b"something else", b"null", b"[]", b"{}", own[:-7], own[: len(own) // 2]):
        try:
            trial.kind.from_bytes(data)
        except DataError:
            continue
        except Exception as error:
            words = f"raised {error!r}"
        else:
            words = "read them"
        what = "a part of its own bytes" if data and own.startswith(data) else repr(data)
        yield f"from_bytes was given {what} and {words}", "raise DataError saying to train it again"
        return


def no_code(trial: Trial) -> Iterator[Fault]:
    """Reading its bytes unpickles and evaluates nothing: a model of others' making must not run code."""
    data = trial.detector.to_bytes()
    # What is imported or compiled when it is first needed is no part of the bytes.
    trial.kind.from_bytes(data)
    ran = _watched(lambda: trial.kind.from_bytes(data))
    if ran:
        yield f"from_bytes calls {ran[0]}", "write JSON, arrays, or a format of a library that runs no code"


def parameters(trial: Trial) -> Iterator[Fault]:
    """What the registry records beside the model is plain JSON."""
    found = trial.detector.parameters()
    try:
        plain = isinstance(found, dict) and json.loads(json.dumps(found, allow_nan=False)) == found
        words = "they are not what JSON gives back"
    except (TypeError, ValueError) as error:
        plain, words = False, str(error)
    if not plain:
        yield f"parameters are not plain JSON ({words})", "give a dict of str to numbers, texts, lists and dicts"


def _watched(read: Callable[[], object]) -> list[str]:
    """Names of the functions called meanwhile, in this thread, that run code which data name."""
    ran: list[str] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            module = getattr(called, "__module__", None)
            # A method has no module of its own: its class or one above has.
            above = type(getattr(called, "__self__", None)).__mro__
            for name in [module] if module else [kind.__module__ for kind in above]:
                if called.__name__ in _CODE.get(name, ()):
                    ran.append(f"{name.lstrip('_')}.{called.__name__}")
        elif event == "call" and frame.f_code.co_filename == pickle.__file__:
            ran.append(f"pickle.{frame.f_code.co_name}")

    former = sys.getprofile()
    sys.setprofile(watch)
    try:
        read()
    finally:
        sys.setprofile(former)
    return ran
