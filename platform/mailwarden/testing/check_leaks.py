"""Leaks: what a view's values may not be made of, and how it is found out."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Decayed,
    Extreme,
    Peak,
    Ratio,
    Surge,
    Unusual,
)
from mailwarden.domain.aggregates.fact_specs import QUANTITY_FACTS
from mailwarden.domain.mail.content import ContentView
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message
from mailwarden.errors import ContractError
from mailwarden.testing.other_process import ask_elsewhere
from mailwarden.testing.problem import Problem

_KIND_OF = {fact.name: fact.on for fact in QUANTITY_FACTS}

_FORBIDDEN = {
    "our own verdicts and labels": (
        "mailwarden.domain.detection", "mailwarden.scoring", "mailwarden.labelling",
        "mailwarden.training", "mailwarden.monitoring", "mailwarden_detectors", "mailwarden_services",
    ),
    "a store": ("mailwarden.stores", "mailwarden.settings", "redis", "sqlalchemy", "sqlite3", "deltalake", "pyspark"),
    "the network": ("socket", "ssl", "http", "urllib.request", "requests", "httpx", "smtplib", "dns"),
    "the clock": ("time", "sched"),
    "chance": ("random", "secrets", "uuid"),
    "the machine": ("os", "platform", "subprocess", "multiprocessing", "threading", "tempfile", "getpass"),
}  # fmt: skip
_ALLOWED = ("mailwarden.stores.feast.objects",)
_CALLS = {"now": "the clock", "utcnow": "the clock", "today": "the clock", "open": "files", "id": "chance"}


def check_labels(view: ActivityView) -> Iterator[Problem]:
    """Measures that do not see what they name, and rates over labels and signals that count mail too young for them."""
    for measure in view.measures:
        words, kind = "", _KIND_OF.get(measure.of, measure.on)
        if measure.on == "label" and not measure.of:
            words = "counts labels, of which a correction is another one; say of='labelled_bad' or the like"
        elif measure.on == "signal" and not measure.of:
            words = "counts signals of every kind there will be; say of='late_qr_code_count' or the like"
        elif kind != measure.on and measure.on == "message":
            words = f"adds {measure.of} over messages, which have no {kind} yet; say on={kind!r}"
        elif kind != measure.on:
            words = f"adds {measure.of} once more with each {measure.on}; say on={kind!r}"
        if words:
            yield Problem(view.name, "", f"measure {measure.name!r} {words}")
    kept_values: tuple[Peak | Extreme, ...] = (*view.peaks, *view.extremes)
    for kept in kept_values:
        kind = _KIND_OF.get(kept.of, "message")
        if kind != "message":
            words = f"is of {kept.of}, and sees messages alone; a Measure on={kind!r} sees {kind}s"
            yield Problem(view.name, "", f"aggregate {kept.name!r} {words}")
    late = {measure.name: measure.on for measure in view.measures if measure.on != "message"}
    for feature in view.features:
        if not isinstance(feature.expression, (Ratio, Surge, Unusual, Decayed)):
            continue
        read = sorted(late.keys() & set(feature.expression.aggregates))
        if not read:
            continue
        come = f"{late[read[0]]}s, which come after the message"
        if not isinstance(feature.expression, Ratio):
            form = type(feature.expression).__name__
            words = f"a leak of time: {form} of {read[0]!r}, which is filled from {come}; use a Ratio or a Total"
            yield Problem(view.name, feature.name, words)
        elif not feature.expression.window.until_us:
            words = (
                f"a leak of time: {read[0]!r} is counted from {come}, and window "
                f"{feature.expression.window.name} holds messages too young for one; use W_MATURED or W_90D_MATURED"
            )
            yield Problem(view.name, feature.name, words)


def check_folder(folder: Path) -> list[Problem]:
    """What the sources of a view's folder import or call that no feature may be made of.

    A value is made of the message or of the events before it: not of our own verdicts, nor of a store, the network,
    the clock, chance or the machine.
    """
    problems = []
    for path in sorted(folder.glob("**/*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError) as error:
            problems.append(Problem(folder.name, "", f"{path.name} cannot be read: {error}"))
            continue
        for line, what, of in _reaches(tree):
            words = f"a leak: {path.name} line {line} reaches for {of} by {what}; take all from the message"
            problems.append(Problem(folder.name, "", words))
    return problems


def check_elsewhere(view: ContentView, messages: Sequence[Message], lists: Lists) -> list[Problem]:
    """Features that differ when computed at another time, in another zone, under another hash seed and environment.

    lists: what the view sees. A function that was made inside of another one cannot be taken there, and is passed over.
    """
    compute = view.compute
    module, name = getattr(compute, "__module__", ""), getattr(compute, "__qualname__", "<")
    if "<" in name or not module:
        return []
    here = [dict(compute(message, lists)) for message in messages]
    try:
        answers = ask_elsewhere(module, name, messages, lists)
    except ContractError as failed:
        return [Problem(view.name, "", f"compute cannot be run in a process of its own: {failed}")]
    problems = []
    for message, mine, (theirs, error) in zip(messages, here, answers, strict=True):
        which = message.content_sha256[:12] or "empty"
        there = "at another time and place (clock, zone, hash seed, environment, no network)"
        if error:
            words = f"a leak: compute raised {error} on message {which} {there}; take all from the message"
            problems.append(Problem(view.name, "", words))
            continue
        for feature in sorted(mine):
            if mine[feature] != theirs.get(feature):
                words = f"a leak: it is another value for message {which} {there}; take all from the message"
                problems.append(Problem(view.name, feature, words))
    return problems


def _reaches(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, what is imported or called, and what it reaches for."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            bare = isinstance(node.func, ast.Name)
            if called in _CALLS and (bare or called not in ("open", "id")):
                yield node.lineno, f"{called}()", _CALLS[called]
        for name in names:
            of = _forbidden(name)
            if of:
                yield getattr(node, "lineno", 0), name, of


def _forbidden(name: str) -> str:
    if any(_within(name, allowed) for allowed in _ALLOWED):
        return ""
    return next((of for of, roots in _FORBIDDEN.items() if any(_within(name, root) for root in roots)), "")


def _within(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")
