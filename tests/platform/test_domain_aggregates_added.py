"""A fact or an expression that is added: its spec and its lines in the oracle, and every engine counts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mailwarden.compiled
from mailwarden.domain.aggregates import expressions, fact_specs, finalise
from mailwarden.domain.mail import events
from mailwarden.testing import naive_facts, naive_recount

ADDED = {
    events: {
        '    label: str = ""': '    has_macro: bool | None = None\n    macro_count: int = 0\n    macro_author: str = ""\n',  # noqa: E501
    },
    fact_specs: {
        '    FlagFact("reply", ': '    FlagFact("has_macro", Is("has_macro", True), "holds a macro"),\n',
        '    QuantityFact("url_count", ': '    QuantityFact("macros", Value("macro_count"), "macros"),\n',
        '    NameFact("thread", ': '    NameFact("macro_author", "who wrote the macro", key=True),\n',
    },
    expressions: {
        "EXPRESSIONS: tuple": """@dataclass(frozen=True, slots=True)
class Gap(Expression):
    earlier: str
    later: str
    recipes: ClassVar[Mapping[str, Widths]] = {"gap": Widths(0, 2, 0)}

    @property
    def aggregates(self): return self.earlier, self.later

    def recipe(self, places): return "gap", Ingredients((), (places.extreme(self.earlier), places.extreme(self.later)))


""",
        "    History,\n)": "    Gap,\n",
    },
    finalise: {
        "_hour_bin, _weekday_bin = ": '_GAP = KINDS.index("gap")\n',
        "            elif kind == _PEAK:": """            elif kind == _GAP:
                sooner, later = times[i, t[0]], times[i, t[1]]
                value = math.nan if sooner == NO_TIME or later == NO_TIME else float(later - sooner)
""",
    },
    naive_recount: {
        "from mailwarden.domain.aggregates.windows": "from mailwarden.domain.aggregates.expressions import Gap\n",
        "            case Surge():": """            case Gap(earlier, later):
                first, last = self._extreme_row(earlier), self._extreme_row(later)
                return float(last.received_at_us - first.received_at_us) if first and last else None
""",
    },
    naive_facts: {
        '        case "reply":': '        case "has_macro":\n            return bool(event.has_macro)\n',
        '        case "size_bytes":': '        case "macros":\n            return event.macro_count\n',
    },
}
"""What is put before what: the files that a fact touches, besides `facts.event_of`, and those of an expression."""

COUNTED = """
import sys
from collections import defaultdict
from pathlib import Path

from mailwarden.domain.aggregates.definitions import *
from mailwarden.domain.aggregates.expressions import Gap
from mailwarden.domain.aggregates.finalise import finalise
from mailwarden.domain.aggregates.layout import layout_of
from mailwarden.domain.aggregates.online.reads import read_slots
from mailwarden.domain.aggregates.online.state import EntityState
from mailwarden.domain.aggregates.windows import DAY_US, W_30D, W_ALL
from mailwarden.domain.mail.events import keys_of
from mailwarden.settings import Settings
from mailwarden.stores.feast.objects import ENTITIES, feature_view_of
from mailwarden.stores.online.streams import decode_event, encode_event
from mailwarden.stores.spark.session import spark_session
from mailwarden.testing.histories import START_US
from mailwarden.testing.naive_recount import recount
from mailwarden.testing.spark_campaign import Campaign
import numpy as np

view = ActivityView(
    "macros", 1, "tests", "", ("macro_author",), "facts",
    (Measure("with_macro", where=("has_macro",)), Measure("macros", "macros")),
    (Extreme("first", "first", ("has_macro",)), Extreme("last", "last", of="macros")),
    (Distinct("authors", "macro_author"),),
    (
        Feature("seen", History(), "", "flag"), Feature("with_macro", Total("with_macro", W_30D), "", "1"),
        Feature("macros", Total("macros", W_ALL), "", "1"), Feature("last", Held("last"), "", "1"),
        Feature("authors", Total("authors", W_ALL), "", "1"), Feature("match", Match("sets"), "", "1"),
        Feature("gap", Gap("first", "last"), "", "us"),
    ),
    (Peak("most", "max", "macros"),), (Recent("sets", "macro_author", 3),),
)
assert "macro_author" in {entity.name for entity in ENTITIES} and feature_view_of(view).entities[1] == "macro_author"
campaign = Campaign(Path(sys.argv[1]), 30, 5)
history = [event for events in campaign.histories for event in events]
assert {event.has_macro for event in history} == {None, False, True} and len({e.macro_author for e in history}) > 3
assert all(decode_event(encode_event(event)) == event for event in history)
online = 0
for events in campaign.histories:
    states, keys, at = defaultdict(lambda: EntityState(layout_of(view))), set(), np.array([START_US + 40 * DAY_US])
    for event in events:
        for key, way in keys_of(view.emission, event, view.keys):
            states[event.tenant, key].fold(event, [way])
    for (tenant, key), state in states.items():
        reads = read_slots(layout_of(view), [state.to_bytes()], at)
        values = finalise(layout_of(view), reads.slots, reads.times, reads.matches, reads.seen, at)[0]
        expected = recount(view, events, key, tenant, int(at[0]), len(events) + 1)
        assert [None if v != v else v for v in values.tolist()] == list(expected.values()), (key, values, expected)
        online += len(values)
spark = spark_session(Settings(home=Path(sys.argv[1]), spark_driver_memory="1g", spark_shuffle_partitions=2), "macros")
verdict = campaign.check_reads(spark, view, range(30))
spark.stop()
print("counted", online, verdict.values, *verdict.wrong[:1])
"""


@pytest.mark.verify
def test_a_fact_and_an_expression_are_added_in_three_files_each_and_counted_by_every_engine(tmp_path: Path) -> None:
    package = Path(mailwarden.compiled.__file__).parent
    copy = tmp_path / "sources" / "mailwarden"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for module, changes in ADDED.items():
        file = copy / Path(module.__file__ or "").relative_to(package)
        text = file.read_text()
        for line, added in changes.items():
            assert text.count(line) == 1, line
            text = text.replace(line, added + line)
        file.write_text(text)
    path = os.pathsep.join([str(copy.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, str(tmp_path / "home")],
        env={**os.environ, "PYTHONPATH": path, "MAILWARDEN_SPARK_MASTER": "local[1]"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [line.split(maxsplit=3)[1:] for line in done.stdout.splitlines() if line.startswith("counted ")]
    assert len(found) == 1 and len(found[0]) == 2, found
    assert int(found[0][0]) > 200 and int(found[0][1]) > 500
