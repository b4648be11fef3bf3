"""The kinds of problems that the API answers with: what clients tell them apart by."""

from __future__ import annotations

from dataclasses import dataclass

MEDIA_TYPE = "application/problem+json"
URN = "urn:mailwarden:problem:"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem: its HTTP status, its title, and when it comes."""

    status: int
    title: str
    when: str


TYPES: dict[str, ProblemType] = {
    "not-authorised": ProblemType(401, "Not authorised", "no key, or none that works"),
    "lacks-role": ProblemType(403, "Role lacking", "the key works, but not for this"),
    "other-tenant": ProblemType(403, "Another tenant", "a tenant's key, with another tenant named beside it"),
    "not-found": ProblemType(404, "Not found", "what the id names is not known to this tenant"),
    "no-tenant": ProblemType(404, "No such tenant", "a key above tenants names a tenant that is not there"),
    "http": ProblemType(404, "Not Found", "no such path, or (405) no such method on it"),
    "too-slow": ProblemType(408, "Too slow", "the body did not come in time"),
    "too-large": ProblemType(413, "Message too large", "the body is over the limit"),
    "unsupported-type": ProblemType(415, "Unsupported type", "the body is of a type that is not read here"),
    "bad-request": ProblemType(422, "Bad request", "a parameter, a header or a field of the body is wrong"),
    "not-a-message": ProblemType(422, "Not a message", "the bytes are no mail, or nothing says when it came"),
    "bad-data": ProblemType(422, "Bad data", "well formed, and contradicts what is known"),
    "too-many": ProblemType(429, "Too many", "the tenant hands over more a second than it may; try again"),
    "head-too-large": ProblemType(431, "Head too large", "the request's line and header fields are over the limit"),
    "misconfigured": ProblemType(500, "Misconfigured", "the platform's own settings are wrong"),
    "internal": ProblemType(500, "Internal error", "an accident inside; it was logged"),
    "busy": ProblemType(503, "Busy", "as much is under way as is held at once; try again"),
    "no-model": ProblemType(503, "No model serves", "nothing can be decided yet; try again"),
    "not-logged": ProblemType(503, "Not logged yet", "what it takes was accepted and is in no log yet; try again"),
    "store-down": ProblemType(503, "A store is down", "what it takes cannot be reached; try again"),
}
"""Every type that an answer of the API may bear, by the last part of its URI."""
