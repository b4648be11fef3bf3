from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mailwarden.domain.aggregates.definitions import (
    ActivityView,
    Age,
    Decayed,
    Distinct,
    Extreme,
    Feature,
    Held,
    History,
    Match,
    Measure,
    Peak,
    Ratio,
    Recent,
    Surge,
    Total,
    Unusual,
    profile_of,
)
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.windows import DAY_US, HOUR_US, W_7D, W_30D, W_90D_MATURED, W_ALL, W_MATURED, Window
from mailwarden.domain.mail.content import ContentFeature, ContentView
from mailwarden.ingest.parse import parse_message
from mailwarden.testing.check_activity import MOST_STATE_BYTES
from mailwarden.testing.check_leaks import check_folder
from mailwarden.testing.check_view import check_names, check_view
from mailwarden.testing.state_size import largest_state

MESSAGES = (parse_message(b"From: a@b.example\nSubject: x\n\nhello"),)
NEVER = "never: always a value once the key was seen"


def view(*features: Feature, emission: str = "facts", **changes: object) -> ActivityView:
    """A view of campaigns with a history feature and those given."""
    made = ActivityView(
        name="sample",
        version=1,
        owner="team",
        description="A sample.",
        keys=("campaign",),
        emission="facts",
        measures=(Measure("messages"), Measure("linked", where=("has_link",)), Measure("ours", where=("forward",))),
        extremes=(Extreme("first_ever", "first"), Extreme("first_link", "first", where=("has_link",), of="size_bytes")),
        distincts=(),
        features=(Feature("history", History(), "Seen before.", "0 or 1"), *features),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def words_of(found: ActivityView | ContentView) -> list[str]:
    return [problem.words for problem in check_view(found, MESSAGES) if "no feature reads" not in problem.words]


@pytest.mark.parametrize(
    "expression",
    [
        Ratio("messages", "linked", W_ALL),
        Ratio("linked", "messages", W_30D),
        Ratio("linked", "messages", W_MATURED),
        Surge("messages", W_7D, W_30D, "first_ever"),
        Age("first_link"),
        Held("first_link"),
        Unusual("hours", "hour", W_30D),
        Unusual("linked_hours", "hour", W_ALL),
        Match("structures"),
        Total("largest", W_7D),
        Total("largest_linked", W_ALL),
    ],
    ids=repr,
)
def test_a_null_that_can_be_must_be_said(expression: object) -> None:
    more = {
        "measures": (
            *view().measures,
            *profile_of("hours", "hour"),
            *profile_of("linked_hours", "hour", ("has_link",)),
        ),
        "recents": (Recent("structures", "structure", 4),),
        "peaks": (Peak("largest", "max", "size_bytes"), Peak("largest_linked", "max", "size_bytes", ("has_link",))),
    }
    feature = Feature("odd", expression, "Odd.", "odds", NEVER)  # type: ignore[arg-type]
    assert any("its `null` says never" in words for words in words_of(view(feature, **more)))
    said = replace(feature, null="where there is none")
    assert words_of(view(said, **more)) == []


@pytest.mark.parametrize(
    "expression",
    [
        Total("messages", W_7D),
        Ratio("linked", "messages", W_ALL),
        Ratio("linked", "ours", W_ALL),
        Ratio("linked", "messages", W_7D, (1.0, 1.0)),
        Age("first_ever"),
        Decayed("messages", DAY_US, (W_7D, W_30D)),
        Total("largest", W_ALL),
        Unusual("hours", "hour", W_ALL),
    ],
    ids=repr,
)
def test_a_null_that_never_is_may_be_denied(expression: object) -> None:
    more = {
        "measures": (*view().measures, *profile_of("hours", "hour")),
        "peaks": (Peak("largest", "max", "size_bytes"),),
    }
    assert words_of(view(Feature("odd", expression, "Odd.", "odds", NEVER), **more)) == []  # type: ignore[arg-type]


LABELLED = (
    Measure("bad", of="labelled_bad", on="label"),
    Measure("good", of="labelled_good", on="label"),
    Measure("codes", of="late_qr_code_count", on="signal"),
    Measure("messages"),
)


@pytest.mark.parametrize(
    ("expression", "leaks"),
    [
        (Ratio("bad", "messages", W_ALL, (1.0, 1.0)), True),
        (Ratio("bad", "messages", W_30D, (1.0, 1.0)), True),
        (Ratio("messages", "good", W_ALL, (1.0, 1.0)), True),
        (Surge("bad", W_7D, W_30D, "first_ever"), True),
        (Decayed("bad", DAY_US, (W_7D,)), True),
        (Ratio("bad", "messages", W_MATURED, (1.0, 1.0)), False),
        (Ratio("bad", "good", W_90D_MATURED, (1.0, 1.0)), False),
        (Ratio("messages", "messages", W_30D, (1.0, 1.0)), False),
        (Total("bad", W_ALL), False),
        (Ratio("codes", "messages", W_30D, (1.0, 1.0)), True),
        (Surge("codes", W_7D, W_30D, "first_ever"), True),
        (Ratio("codes", "messages", W_MATURED, (1.0, 1.0)), False),
        (Total("codes", W_30D), False),
    ],
    ids=repr,
)
def test_a_rate_over_labels_or_signals_counts_matured_mail_alone(expression: object, leaks: bool) -> None:
    found = words_of(view(Feature("odd", expression, "Odd.", "odds", "none"), measures=LABELLED))  # type: ignore[arg-type]
    assert any("a leak of time" in words for words in found) == leaks


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measures": (Measure("odd", of="labelled_bad"),)}, "on='label'"),
        ({"measures": (Measure("odd", on="label"),)}, "a correction is another one"),
        ({"measures": (Measure("odd", of="size_bytes", on="label"),)}, "on='message'"),
        ({"measures": (Measure("odd", of="late_qr_url_count"),)}, "on='signal'"),
        ({"peaks": (Peak("odd", "max", "late_qr_url_count"),)}, "sees signals"),
        ({"measures": (Measure("odd", on="signal"),)}, "of every kind there will be"),
        ({"measures": (Measure("odd", of="size_bytes", on="signal"),)}, "on='message'"),
        ({"measures": (Measure("odd", of="labelled_bad", on="signal"),)}, "on='label'"),
        ({"peaks": (Peak("odd", "max", "labelled_bad"),)}, "sees messages alone"),
        ({"extremes": (Extreme("odd", "last", of="labelled_attack"),)}, "sees messages alone"),
        ({"distincts": (Distinct("odd", of="campaign"),)}, "the key itself"),
        ({"recents": (Recent("odd", "campaign", 2),)}, "the key itself"),
        ({"measures": (Measure("odd", where=("reverse",)),)}, "never see an event"),
    ],
)
def test_an_aggregate_that_cannot_see_what_it_names_is_told_so(changes: dict[str, object], words: str) -> None:
    assert any(words in found for found in words_of(view(**changes)))  # type: ignore[arg-type]


def test_many_hops_and_large_states_are_told_so() -> None:
    hops = [Window(f"w{i}", 30 * DAY_US, i * HOUR_US) for i in range(1, 7)]
    features = [Feature(f"f_{i}", Total("messages", window), "F.", "messages") for i, window in enumerate(hops)]
    assert any("6 different hops" in words for words in words_of(view(*features)))
    assert not any("different hops" in words for words in words_of(view(*features[:5])))
    fine = Window("fine", 30 * DAY_US, HOUR_US // 12)
    large = view(Feature("odd", Total("messages", fine), "F.", "messages"))
    assert largest_state(layout_of(large)).state > MOST_STATE_BYTES
    assert any("the state of a busy key may take" in words for words in words_of(large))
    many = view(Feature("odd", Total("names", fine), "F.", "names"), distincts=(Distinct("names", of="recipients"),))
    assert any("the sketches of a busy key may take" in words for words in words_of(many))


def test_names_are_one_things_alone() -> None:
    first = view(Feature("odd", Total("messages", W_ALL), "F.", "messages"))
    assert check_names([first, replace(first, name="other")], ["behaviour"]) == []
    assert "another view" in str(check_names([first, replace(first, name="Sample")])[0])
    assert "an entity" in str(check_names([replace(first, name="thread")])[0])
    assert "a detector" in str(check_names([first], ["sample"])[0])
    for name in ("sender", "seq", "as_of_seq"):
        assert "rename it" in str(check_names([view(Feature(name, History(), "F.", "0 or 1"))])[0])


PLAIN = '''
"""A content view's function."""
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message

def compute(message: Message, lists: Lists) -> dict[str, int]:
    return {"fact": len(message.subject)}
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("leaky_")]:
        del sys.modules[name]


def content_of(folder: Path, name: str, source: str) -> ContentView:
    """A content view whose function stands in a module of its own."""
    package = folder / f"leaky_{name}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "transform.py").write_text(source)
    importlib.invalidate_caches()
    compute = importlib.import_module(f"leaky_{name}.transform").compute
    features = (ContentFeature("fact", "int64", "F.", "f", "none"),)
    return ContentView("made_up", 1, "team", "F.", features, compute, ("headers",), 1.0)


LEAKS = {
    "clock": "import time\nNOW = time.time()\ndef compute(message, lists): return {'fact': int(NOW) // 86400}",
    "day": "from datetime import date\ndef compute(message, lists): return {'fact': date.today().toordinal()}",
    "moment": "import datetime\ndef compute(message, lists): return {'fact': datetime.datetime.now().year}",
    "zone": "import time\ndef compute(message, lists): return {'fact': time.localtime(0).tm_hour}",
    "seed": "def compute(message, lists): return {'fact': hash(message.subject) % 1000003}",
    # The whole order of fifteen: the place of one of six is the same under another seed once in six times.
    "order": "def compute(message, lists): return {'fact': int(''.join({*'123456789abcdef'}), 16)}",
    "environment": "import os\ndef compute(message, lists): return {'fact': len(os.environ)}",
    "chance": "import random\nN = random.randrange(2**62)\ndef compute(message, lists): return {'fact': N}",
    "folder": "import os\ndef compute(message, lists): return {'fact': len(os.getcwd())}",
    "network": (
        "import socket\n"
        "def compute(message, lists):\n"
        "    try:\n"
        "        return {'fact': len(socket.getaddrinfo('localhost', 25)) and 1}\n"
        "    except OSError:\n"
        "        return {'fact': 0}\n"
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_compute_that_asks_the_world_gives_itself_away(folder: Path, name: str) -> None:
    assert any("a leak" in words for words in words_of(content_of(folder, name, LEAKS[name])))


@pytest.mark.parametrize("deep", ["", "elsewhere"])
def test_a_folder_gives_itself_away_whatever_its_length(
    folder: Path, monkeypatch: pytest.MonkeyPatch, deep: str
) -> None:
    """In folders whose names are as long as those that the check makes for itself."""
    with tempfile.TemporaryDirectory() as made:
        here = Path(made) / deep
        here.mkdir(exist_ok=True)
        monkeypatch.chdir(here)
        found = words_of(content_of(folder, f"folder_{deep}", LEAKS["folder"]))
        monkeypatch.undo()
    assert any("a leak" in words for words in found)


def test_a_compute_that_asks_the_message_alone_does_not(folder: Path) -> None:
    assert words_of(content_of(folder, "plain", PLAIN)) == []
    assert check_folder(folder / "leaky_plain") == []


@pytest.mark.parametrize(
    ("source", "of"),
    [
        ("from mailwarden.domain.detection.decision import Decision", "our own verdicts"),
        ("import mailwarden_detectors", "our own verdicts"),
        ("from mailwarden.scoring import scorer", "our own verdicts"),
        ("from mailwarden.stores.lake.event_log import EventLog", "a store"),
        ("import redis", "a store"),
        ("from urllib.request import urlopen", "the network"),
        ("import time", "the clock"),
        ("from datetime import datetime\nX = datetime.now()", "the clock"),
        ("import random", "chance"),
        ("from os import environ", "the machine"),
        ("X = open('names.txt')", "files"),
    ],
)
def test_a_folder_that_reaches_beyond_the_message_is_told_so(folder: Path, source: str, of: str) -> None:
    (folder / "transform.py").write_text(source)
    (found,) = check_folder(folder)
    assert f"reaches for {of}" in found.words and "transform.py line" in found.words


@pytest.mark.parametrize(
    "source",
    [
        "from mailwarden.stores.feast.objects import feature_view_of",
        "from urllib.parse import urlsplit",
        "from datetime import timedelta\nX = timedelta(days=1)",
        "import re\nimport hashlib",
    ],
)
def test_what_a_view_needs_is_no_leak(folder: Path, source: str) -> None:
    (folder / "transform.py").write_text(source)
    assert check_folder(folder) == []


def test_a_leak_names_its_feature_and_a_folder_that_is_broken_itself(folder: Path) -> None:
    problems: Sequence[object] = check_view(content_of(folder, "clock", LEAKS["clock"]), MESSAGES)
    assert str(problems[0]).startswith("made_up:fact: a leak")
    (folder / "transform.py").write_text("def (")
    (broken,) = [problem.words for problem in check_folder(folder) if "cannot" in problem.words]
    assert "transform.py cannot be read" in broken
