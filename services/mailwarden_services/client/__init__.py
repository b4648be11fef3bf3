"""A typed client of the scoring API, for programs that wait and for programs that do not.

with Client("http://127.0.0.1:8080", key) as mailwarden:
    answer = mailwarden.score(raw, received_at=now, mail_from=sender, rcpt_to=recipients)
    for decision in mailwarden.decisions(verdict="quarantine"):
        ...
"""

from mailwarden_services.client.clients import AsyncClient, Client
from mailwarden_services.client.failures import (
    ApiAway,
    ApiDown,
    ApiNotAllowed,
    ApiNotFound,
    ApiProblem,
    ApiRefused,
)

__all__ = [
    "ApiAway",
    "ApiDown",
    "ApiNotAllowed",
    "ApiNotFound",
    "ApiProblem",
    "ApiRefused",
    "AsyncClient",
    "Client",
]
