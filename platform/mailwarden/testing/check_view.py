"""Conformance of a feature view: what a team's view owes its readers, said in words where it falls short."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailwarden.domain.content import ContentFeature, ContentValue, ContentView
from mailwarden.domain.layout import layout_of
from mailwarden.domain.message import Authentication, Mailbox, Message
from mailwarden.domain.views import ActivityView, Feature, History, Ratio
from mailwarden.domain.windows import Window
from mailwarden.errors import ContractError

_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_EMISSION_KEYS = {
    "participants": ("sender",),
    "participant_domains": ("sender_domain",),
    "recipients": ("recipient",),
    "pairs": ("sender", "recipient"),
}
_TYPES = {"int64": int, "float64": float, "string": str}
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong and how to mend it. feature: "" where the view as a whole is meant."""

    view: str
    feature: str
    words: str

    def __str__(self) -> str:
        place = f"{self.view}:{self.feature}" if self.feature else self.view
        return f"{place}: {self.words}"


def check_view(view: ActivityView | ContentView, messages: Sequence[Message] = ()) -> list[Problem]:
    """Everything in which a view breaks its contract; empty where it keeps it. Raises nothing.

    messages: what a content view is computed on, besides a message that has nothing at all.
    """
    problems = [*_check_words(view)]
    if isinstance(view, ActivityView):
        problems += _check_activity(view)
    else:
        for message in (empty_message(), *messages):
            problems += _check_compute(view, message)
    return list(dict.fromkeys(problems))


def empty_message() -> Message:
    """A message with no header, no body, no time and no address: the least that a parser can make of any bytes."""
    return Message(
        headers=(),
        sender=Mailbox("", "", ""),
        to=(),
        cc=(),
        reply_to=(),
        return_path=None,
        recipients=(),
        received_at_us=None,
        time_source="none",
        date_us=None,
        message_id_header="",
        in_reply_to=(),
        references=(),
        subject="",
        new_text="",
        quoted_text="",
        html=False,
        html_chars=0,
        text_chars=0,
        hidden_chars=0,
        charsets=(),
        part_types=(),
        urls=(),
        attachments=(),
        hops=(),
        authentication=Authentication(),
        nested=(),
        defects=(),
        content_sha256="",
        size=0,
    )


def _check_words(view: ActivityView | ContentView) -> Iterator[Problem]:
    if not _SNAKE.fullmatch(view.name):
        yield Problem(view.name, "", "its name is not snake_case; name it as its folder, like sender_activity")
    if view.version < 1:
        yield Problem(view.name, "", f"its version is {view.version}; versions begin at 1")
    if not view.owner.strip():
        yield Problem(view.name, "", "it has no owner; name the team that answers for it")
    if not view.description.strip():
        yield Problem(view.name, "", "it has no description; say in one sentence what it tells")
    if not view.features:
        yield Problem(view.name, "", "it has no feature; give it one, or remove the folder")
    for name, times in Counter(feature.name for feature in view.features).items():
        if times > 1:
            yield Problem(view.name, name, f"the name is used {times} times; give each feature its own")
    for feature in view.features:
        if not _SNAKE.fullmatch(feature.name):
            yield Problem(view.name, feature.name, "its name is not snake_case")
        for what, words in (("description", feature.description), ("unit", feature.unit)):
            if not words.strip():
                yield Problem(view.name, feature.name, f"it has no {what}; its readers need it")
        if not feature.null.strip():
            yield Problem(view.name, feature.name, "the meaning of null is not said; say when it is null, or never")


def _check_activity(view: ActivityView) -> Iterator[Problem]:
    expected = _EMISSION_KEYS.get(view.emission)
    if expected is None:
        known = ", ".join(_EMISSION_KEYS)
        yield Problem(view.name, "", f"its emission {view.emission!r} is unknown; use one of {known}")
    elif view.keys != expected:
        yield Problem(view.name, "", f"its keys {view.keys} do not fit emission {view.emission!r}; use {expected}")
    if not any(isinstance(feature.expression, History) for feature in view.features):
        yield Problem(view.name, "", "it has no History feature; without it, never seen cannot be told from null")
    for feature in view.features:
        if feature.window is not None:
            yield from _check_window(view, feature, feature.window)
        if isinstance(feature.expression, Ratio) and min(feature.expression.prior) < 0:
            yield Problem(view.name, feature.name, "its prior is negative; a prior is a count of made-up messages")
    try:
        layout_of(view)
    except ContractError as error:
        yield Problem(view.name, "", str(error))
        return
    yield from _check_unused(view)


def _check_window(view: ActivityView, feature: Feature, window: Window) -> Iterator[Problem]:
    if window.hop_us <= 0:
        yield Problem(view.name, feature.name, f"window {window.name} has no hop; state the step of its edges")
        return
    if window.length_us is not None and window.length_us < window.hop_us:
        yield Problem(view.name, feature.name, f"window {window.name} is shorter than its hop; shorten the hop")
    if window.until_us and window.until_us < window.hop_us:
        yield Problem(view.name, feature.name, f"window {window.name} ends within one hop; shorten the hop")
    if window.length_us is not None and window.until_us >= window.length_us:
        yield Problem(view.name, feature.name, f"window {window.name} ends before it begins; it can hold no event")


def _check_unused(view: ActivityView) -> Iterator[Problem]:
    used: set[str] = set()
    for feature in view.features:
        for attribute in ("aggregate", "numerator", "denominator", "extreme"):
            used.add(getattr(feature.expression, attribute, ""))
    aggregates = [measure.name for measure in view.measures]
    aggregates += [extreme.name for extreme in view.extremes] + [distinct.name for distinct in view.distincts]
    for name in aggregates:
        if name not in used:
            yield Problem(view.name, "", f"no feature reads aggregate {name!r}; remove it from every state")


def _check_compute(view: ContentView, message: Message) -> Iterator[Problem]:
    which = message.content_sha256[:12] or "empty"
    try:
        values, again = view.compute(message), view.compute(message)
    except Exception as error:
        yield Problem(view.name, "", f"compute raised {error!r} on message {which}; it must never raise")
        return
    if list(values.items()) != list(again.items()):
        yield Problem(view.name, "", f"compute gave two answers for message {which}; it must be deterministic")
    yield from _check_names(view, values)
    for feature in view.features:
        if feature.name in values:
            yield from _check_value(view, feature, values[feature.name], which)


def _check_names(view: ContentView, values: Mapping[str, ContentValue]) -> Iterator[Problem]:
    declared = {feature.name for feature in view.features}
    for name in sorted(declared - values.keys()):
        yield Problem(view.name, name, "compute leaves it out; give every feature a value, None for null")
    for name in sorted(values.keys() - declared):
        yield Problem(view.name, name, "compute gives it, and no feature declares it; declare it, or leave it out")


def _check_value(view: ContentView, feature: ContentFeature, value: ContentValue, which: str) -> Iterator[Problem]:
    wanted = _TYPES.get(feature.dtype)
    if wanted is None:
        yield Problem(view.name, feature.name, f"dtype {feature.dtype!r} is unknown; use one of {', '.join(_TYPES)}")
    elif value is None:
        if feature.null.startswith("never"):
            yield Problem(view.name, feature.name, f"it is null on message {which}, and says that it never is")
    elif type(value) is not wanted:
        words = f"it is {type(value).__name__} on message {which}; {feature.dtype} wants {wanted.__name__}"
        yield Problem(view.name, feature.name, words)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(view.name, feature.name, f"it is {value} on message {which}; give None where it has no value")
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        yield Problem(view.name, feature.name, f"it does not fit int64 on message {which}")
    elif isinstance(value, str) and not _is_utf8(value):
        yield Problem(view.name, feature.name, f"it holds lone surrogates on message {which}; no store can keep them")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
