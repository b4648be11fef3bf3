"""Folders of views: laid out anew, after another view, or as the next version of one."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mailwarden.domain.aggregates.fact_specs import FACTS
from mailwarden.errors import ConfigError, ContractError, NotFound
from mailwarden_services.teams.sources import free_folder, lay_out, quoted

PACKAGE = "mailwarden_features"

_VERSIONED = re.compile(r"(.+)_v\d+")
_EMISSIONS = {
    ("sender",): "participants",
    ("sender_domain",): "participant_domains",
    ("recipient",): "recipients",
    ("sender", "recipient"): "pairs",
}
_SENT = ("participants", "participant_domains", "pairs")
"""Emissions whose keys have rows in reverse too."""

_TRANSFORM = '''"""What is folded for each {key}{sent}."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import Extreme, Measure

MEASURES = (Measure("messages"{where}),)

EXTREMES = (
    Extreme("first_message", "first"{where}),
    Extreme("last_message", "last"{where}),
)
'''

_VIEW = '''"""{name}: how much mail there is by {key}, and since when."""

from __future__ import annotations

from mailwarden.domain.aggregates.definitions import ActivityView, Age, Feature, History, Total
from mailwarden.domain.aggregates.windows import W_30D, W_ALL
from mailwarden.stores.feast.objects import feature_view_of
from {package}.{name}.transform import EXTREMES, MEASURES
{none}
VIEW = ActivityView(
    name="{name}",
    version=1,
    owner={owner},
    description="How much mail there is by {key}, and since when.",
    keys={keys},
    emission="{emission}",
    measures=MEASURES,
    extremes=EXTREMES,
    distincts=(),
    features=(
        Feature("history", History(), "Mail was seen before.", "0 or 1"),
        Feature("messages_30d", Total("messages", W_30D), "Messages.", "messages"),
        Feature("messages_all", Total("messages", W_ALL), "Messages ever.", "messages"),
        Feature("days_known", Age("first_message"), "Since the first message.", "days"{null}),
        Feature("days_since_last", Age("last_message"), "Since the latest message.", "days"{null}),
    ),
)

feature_view = feature_view_of(VIEW)
'''


_CONTENT_TRANSFORM = '''"""Facts of a message alone, for {name}."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentValue
from mailwarden.domain.mail.lists import Lists
from mailwarden.domain.mail.message import Message


def compute(message: Message, lists: Lists) -> dict[str, ContentValue]:
    """The values of one message, null where a part is absent; pure, bounded, never raising."""
    return {{
        "line_count": message.new_text.count("\\n") + 1 if message.new_text else None,
    }}
'''

_CONTENT_VIEW = '''"""{name}: what a message alone says of its lines."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count
from mailwarden.stores.feast.objects import feature_view_of
from {package}.{name}.transform import compute

VIEW = ContentView(
    name="{name}",
    version=1,
    owner={owner},
    description="What a message alone says of its lines.",
    features=(count("line_count", "Lines of the newest text.", "lines", "not computable: no newest text"),),
    compute=compute,
    reads=("text",),
    cost_us=5,
)

feature_view = feature_view_of(VIEW)
'''


def emission_of(keys: tuple[str, ...]) -> str:
    """The emission that fills these keys (without the tenant); raises ConfigError where none does."""
    unknown = [key for key in keys if key not in (*FACTS, "recipient")]
    if unknown:
        known = ", ".join((*FACTS, "recipient", "tenant"))
        raise ConfigError(f"{unknown[0]!r} is no key; use some of {known}")
    if len(set(keys)) < len(keys):
        raise ConfigError(f"the keys {', '.join(keys)} name one twice")
    if keys in _EMISSIONS:
        return _EMISSIONS[keys]
    if "recipient" in keys:
        raise ConfigError("recipient stands alone or after sender (--keys sender,recipient); no other view has it")
    return "facts"


def new_view(
    root: Path, name: str, *, keys: tuple[str, ...] | None, owner: str, like: str | None = None, package: str = PACKAGE
) -> Path:
    """Lay out the folder of a view and return it; nothing is written where this raises.

    root: folder of the views' folders. keys: without the tenant, `()` for the tenant alone; None for those of `like`.
    like: a view whose folder is copied. Raises ConfigError on a name or keys that cannot be, NotFound where there is
    no `like`, ContractError where its VIEW is not written as arguments by name.
    """
    folder = _free(root, name)
    if like is not None:
        changes = {"name": quoted(name), "version": "1", "owner": quoted(owner)}
        if keys is not None:
            changes |= {"keys": _tuple(keys), "emission": quoted(emission_of(keys))}
        return _copied(root, like, folder, changes, package)
    if keys is None:
        raise ConfigError("say what the view is keyed by (--keys sender), or what it is like (--like sender_activity)")
    emission = emission_of(keys)
    both_ways = emission in _SENT
    # A link's domain may be known by what was found in a message later, and by no message of its own.
    none = _NONE_SENT if both_ways else _NONE_LINKED if "link_domain" in keys else ""
    key = " and ".join(key.replace("_", " ") for key in keys) or "tenant"
    texts = {
        "transform.py": _TRANSFORM.format(
            key=key, sent=": its mail, not what was written to it" if both_ways else "",
            where=', where=("forward",)' if both_ways else "",
        ),
        "view.py": _VIEW.format(
            name=name, package=package, owner=quoted(owner), key=key, keys=_tuple(keys), emission=emission,
            none=f'\n_NONE = "{none}"\n' if none else "",
            null=", _NONE" if none else "",
        ),
        "__init__.py": "",
    }  # fmt: skip
    return lay_out(folder, texts)


_NONE_SENT = "it never sent anything: it was only written to"
_NONE_LINKED = "no message linked to it: it was found later, in a picture"


def new_content_view(root: Path, name: str, *, owner: str, package: str = PACKAGE) -> Path:
    """Lay out the folder of a content view and return it; raises ConfigError on a name that cannot be."""
    folder = _free(root, name)
    texts = {
        "transform.py": _CONTENT_TRANSFORM.format(name=name),
        "view.py": _CONTENT_VIEW.format(name=name, package=package, owner=quoted(owner)),
        "__init__.py": "",
    }
    return lay_out(folder, texts)


def next_version(root: Path, name: str, package: str = PACKAGE) -> Path:
    """Copy a view's folder to one of its next version, `NAME_v2` and on, which is served beside it; returns it.

    Raises NotFound where there is no such view, ContractError where its VIEW is not written as arguments by name.
    """
    view = _source(root, name) / "view.py"
    version = ast.literal_eval(_argument(_call(view), "version", view))
    versioned = _VERSIONED.fullmatch(name)
    base = versioned[1] if versioned else name
    number = version + 1
    while (root / f"{base}_v{number}").exists():
        number += 1
    folder = _free(root, f"{base}_v{number}")
    return _copied(root, name, folder, {"name": quoted(folder.name), "version": str(number)}, package)


def _free(root: Path, name: str) -> Path:
    if name in (*FACTS, "tenant", "recipient", "message"):
        raise ConfigError(f"{name!r} is the name of an entity; add what the view tells, as in {name}_activity")
    if (root / name / "view.py").is_file():
        raise ConfigError(
            f"{root / name} is there already; choose another name, or `mailwarden features version {name}`"
        )
    return free_folder(root, name, "view")


def _source(root: Path, name: str) -> Path:
    folder = root / name
    if not (folder / "view.py").is_file():
        known = sorted(path.parent.name for path in root.glob("*/view.py"))
        raise NotFound(f"there is no view {name!r} in {root}; there are {', '.join(known)}")
    return folder


def _copied(root: Path, name: str, folder: Path, changes: Mapping[str, str], package: str) -> Path:
    source = _source(root, name)
    edited = _edited(source / "view.py", changes)
    own = re.compile(rf"\b{re.escape(package)}\.{re.escape(name)}\b")
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "view.py").write_text(edited, encoding="utf-8")
    for path in folder.glob("**/*.py"):
        text = own.sub(f"{package}.{folder.name}", path.read_text(encoding="utf-8"))
        path.write_text(re.sub(rf'\A"""{re.escape(name)}:', f'"""{folder.name}:', text), encoding="utf-8")
    return folder


def _call(path: Path) -> ast.Call:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = any(isinstance(target, ast.Name) and target.id == "VIEW" for target in targets)
        if named and isinstance(value, ast.Call) and getattr(value.func, "id", "") in ("ActivityView", "ContentView"):
            return value
    raise ContractError(
        f"{path} does not say `VIEW = ActivityView(...)` or `VIEW = ContentView(...)`; copy the folder by hand"
    )


def _argument(call: ast.Call, name: str, path: Path) -> ast.expr:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    kind = getattr(call.func, "id", "")
    if kind == "ContentView" and name in ("keys", "emission"):
        raise ConfigError(f"{path} is a content view: its key is the message, so that --keys says nothing to it")
    raise ContractError(f"{path}: VIEW does not give `{name}=` by name; write it so, or copy the folder by hand")


def _edited(path: Path, changes: Mapping[str, str]) -> str:
    """The source of a view.py with other arguments of its VIEW."""
    lines = path.read_bytes().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    data = b"".join(lines)
    spans = []
    call = _call(path)
    for name, text in changes.items():
        at = _argument(call, name, path)
        assert at.end_lineno is not None and at.end_col_offset is not None
        spans.append((starts[at.lineno - 1] + at.col_offset, starts[at.end_lineno - 1] + at.end_col_offset, text))
    for start, end, text in sorted(spans, reverse=True):
        data = data[:start] + text.encode() + data[end:]
    return data.decode()


def _tuple(names: tuple[str, ...]) -> str:
    inside = ", ".join(map(quoted, names))
    return f"({inside},)" if len(names) == 1 else f"({inside})"
