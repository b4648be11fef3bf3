"""Web addresses and file names as anybody gives them, good or bad: what differs is whose page or file it is."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from urllib.parse import quote

from mailwarden.simulation.company import FREE_HOSTS, REDIRECTOR, SHORTENERS

_PATHS = ("login", "secure/verify", "view", "auth/signin", "wp-content/x/index.html", "s", "doc", "offer", "c", "")


def page(rng: random.Random, site: str, reader: str) -> str:
    """A page of the site. reader: whose address stands in one link of three, as it is or in base64."""
    path = rng.choice((*_PATHS, f"{rng.getrandbits(40):x}", f"{rng.choice(_PATHS)}/{rng.getrandbits(32):08x}"))
    scheme = "http" if rng.random() < 0.1 else "https"
    return f"{scheme}://{site}/{path.strip('/')}" + rng.choice(("", "", "", "", f"?u={_mark(rng, reader)}", ""))


def veiled(rng: random.Random, link: str) -> str:
    """The link as it is, or behind a redirector or a shortener."""
    drawn = rng.random()
    if drawn < 0.1:
        return f"https://{REDIRECTOR}/url?q={quote(link, safe='')}"
    return f"https://{rng.choice(SHORTENERS)}/{rng.getrandbits(36):x}" if drawn < 0.2 else link


def shared(rng: random.Random, site: str) -> str:
    """Where somebody has put a file: a service for that, a free host, or the site."""
    host = rng.choice(("app.sharebox.example", "app.cloudoffice.example", *FREE_HOSTS, FREE_HOSTS[2], f"files.{site}"))
    return f"https://{host}/{rng.choice(('', 's/', 'f/'))}{rng.getrandbits(40):x}"


def stem(rng: random.Random, values: Mapping[str, str]) -> str:
    """A file's name without its ending. values: of a message, with "invoice" and "code"."""
    number, code = values["invoice"], values["code"]
    return rng.choice((number, number, f"Scan_{code}", f"order_{code}", f"Document {code[:3]}", f"receipt_{code}"))


def _mark(rng: random.Random, address: str) -> str:
    return address if rng.random() < 0.5 else base64.urlsafe_b64encode(address.encode()).decode().rstrip("=")
