"""Whose mail an envelope is: by its recipients' domains, by the user who logged in, or by where it came in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mailwarden.domain.mail.addresses import address_domain, normalise_address
from mailwarden.domain.mail.message import Envelope
from mailwarden.stores.sql import Tenant
from mailwarden_services.scoring_api.listeners import Listener
from mailwarden_services.scoring_api.tenant_directory import Directory


@dataclass(frozen=True, slots=True)
class Part:
    """A tenant's part of an envelope: its own recipients, or all of them where it is the sender."""

    tenant: Tenant
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Routed:
    """Parts, the sender's first. unknown: how many domains of recipients are no tenant's."""

    parts: tuple[Part, ...]
    unknown: int = 0


def route(
    envelope: Envelope, directory: Directory, listener: Listener | None = None, only: Tenant | None = None
) -> Routed:
    """The tenants that a message concerns.

    Mail of a user who logged in, by their domain, or of an outbound listener that names a tenant, is that tenant's,
    whoever it goes to; recipients of other tenants have it come in. All else belongs to the tenant of each recipient's
    domain, or to the one that the listener names. listener: where it came in. only: the one tenant that the caller
    speaks for; others are as unknown to it. Where no recipient is known the mail is that one's, or the platform's only
    tenant's.
    """
    sender = _sender(envelope, directory, listener)
    named = directory.by_name.get(listener.tenant) if listener is not None and listener.flow == "inbound" else None
    flow = listener.flow if listener is not None else envelope.flow
    if not envelope.rcpt_to and sender is None:
        owner = named or only or directory.only_tenant
        if owner is None or (only is not None and only.name != owner.name):
            return Routed(())
        return Routed((Part(owner, replace(envelope, flow=flow)),))
    of_tenant: dict[str, tuple[Tenant, list[str]]] = {}
    unknown: set[str] = set()
    for recipient in envelope.rcpt_to:
        tenant = named or directory.of_address(recipient)
        if tenant is None:
            unknown.add(address_domain(normalise_address(recipient)))
        elif sender is None or tenant.name != sender.name:
            of_tenant.setdefault(tenant.name, (tenant, []))[1].append(recipient)
    parts = [] if sender is None else [Part(sender, replace(envelope, flow="outbound"))]
    comes_in = flow if sender is None else "inbound"
    if comes_in == "outbound":
        # The listener is for mail that leaves, and nobody is known to have sent this: it comes in for its recipients.
        comes_in = "inbound"
    parts += [Part(tenant, replace(envelope, rcpt_to=tuple(own), flow=comes_in)) for tenant, own in of_tenant.values()]
    if only is not None:
        parts = [part for part in parts if part.tenant.name == only.name]
    return Routed(tuple(parts), 0 if sender is not None else len(unknown))


def _sender(envelope: Envelope, directory: Directory, listener: Listener | None) -> Tenant | None:
    if envelope.auth_user and (owner := directory.of_address(envelope.auth_user)) is not None:
        return owner
    if listener is not None and listener.flow == "outbound":
        return directory.by_name.get(listener.tenant)
    return None
