"""MAIL and RCPT as a content filter takes them: the address as it stands, and the parameters that go on with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PATH = re.compile(r'\s*<(?P<path>(?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?P<rest>.*)', re.DOTALL)
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[^\s=][^\s]*))?")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")

MAIL_NEEDS: Mapping[str, str] = {
    "BODY": "8BITMIME",
    "SMTPUTF8": "SMTPUTF8",
    "SIZE": "SIZE",
    "RET": "DSN",
    "ENVID": "DSN",
}
RCPT_NEEDS: Mapping[str, str] = {"NOTIFY": "DSN", "ORCPT": "DSN"}
"""Parameters that are taken, by the extension that the next hop must offer for them to be handed on."""


class BadCommand(Exception):
    """A command that is refused; its text is the reply."""


@dataclass(frozen=True, slots=True)
class Path:
    """An address of the envelope, "" for the null path, with its parameters by name in upper case."""

    address: str
    parameters: Mapping[str, str]

    def line(self, verb: str, needs: Mapping[str, str], offered: Mapping[str, str]) -> str:
        """The command for a next hop that offers these extensions; what it does not offer is left out."""
        words = [f"{verb}:<{self.address}>"]
        for name, value in self.parameters.items():
            if needs[name] in offered:
                words.append(f"{name}={value}" if value else name)
        return " ".join(words)


def read_path(argument: str, keyword: str, needs: Mapping[str, str]) -> Path:
    """The path of `FROM:<...>` or `TO:<...>` with parameters; raises BadCommand."""
    if not argument.upper().startswith(keyword) or (found := _PATH.fullmatch(argument[len(keyword) :])) is None:
        raise BadCommand(f"501 5.5.4 Syntax: {keyword}<address>")
    parameters: dict[str, str] = {}
    for word in found["rest"].split():
        if (one := _PARAMETER.fullmatch(word)) is None:
            raise BadCommand("501 5.5.4 A parameter cannot be read")
        if one["name"].upper() not in needs:
            raise BadCommand(f"555 5.5.4 The parameter {one['name'].upper()[:40]} is not known")
        parameters[one["name"].upper()] = one["value"] or ""
    path = found["path"]
    # A source route is older than anybody's mail, and means the address behind it.
    if path.startswith("@") and ":" in path:
        path = path.partition(":")[2]
    return Path(path, parameters)


def read_xforward(argument: str) -> dict[str, str]:
    """Attributes of an XFORWARD command, decoded; those that are unavailable are "". Raises BadCommand."""
    attributes: dict[str, str] = {}
    for word in argument.split():
        name, equals, value = word.partition("=")
        if not equals or not name.isalnum():
            raise BadCommand("501 5.5.4 Syntax: XFORWARD NAME=value...")
        if value.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
            value = ""
        attributes[name.upper()] = _XTEXT.sub(lambda found: chr(int(found[1], 16)), value)
    return attributes
