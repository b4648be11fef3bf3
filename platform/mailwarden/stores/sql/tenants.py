"""Tenants, their policies, and the keys with which they call."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mailwarden.domain.detection.action import MODES, REJECT_FROM, ActionPolicy, Mode, RejectFrom
from mailwarden.domain.detection.decision import VERDICTS, Verdict
from mailwarden.domain.detection.rules.tenant import KeptRule, checked_rules
from mailwarden.domain.detection.tenant_budget import checked_by_category
from mailwarden.domain.mail.addresses import checked_sender
from mailwarden.domain.mail.own_domains import overlap, own_domain
from mailwarden.domain.mail.trust import NO_TRUST, Trust, checked_trust
from mailwarden.errors import DataError, NotFound
from mailwarden.stores.sql.directories import erase
from mailwarden.stores.sql.engine import reading, serialise, writing
from mailwarden.stores.sql.keys import (
    DEFAULT_ROLES,
    TENANT_ROLES,
    ApiKey,
    Issued,
    Principal,
    checked_roles,
    digest,
    new_key,
    principal_of,
    working_keys,
)
from mailwarden.stores.sql.tables import api_keys, tenants

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class TenantPolicy(TypedDict, total=False):
    """What a tenant decides for itself; what is left out takes the platform's default.

    allow_senders, block_senders: addresses and domains as `checked_sender` has them; a domain stands for all below it.
    false_positive_budget: share of benign mail that may be held back, between 0 and 1, both excluded.
    category_budgets: by category, the share of all benign mail that may be held back as that; together at most
    false_positive_budget. 0 for nothing.
    unread: the least that is done with a message that could not be read in full; banner where it is not set.
    mode, reject, headers_in_monitor, act_on_outbound: see `domain.detection.action.ActionPolicy`.
    """

    allow_senders: list[str]
    block_senders: list[str]
    false_positive_budget: float
    category_budgets: dict[str, float]
    unread: Verdict
    mode: Mode
    reject: RejectFrom | None
    headers_in_monitor: bool
    act_on_outbound: bool


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer. domains: its own; trusted_authserv_ids: whose Authentication-Results it trusts; trust: what else.

    rules: its own, and what it does with the platform's; see `domain.detection.rules.tenant`.
    directory: fingerprint of its directory, which lies apart (`directories`); "" where it gave none.
    """

    name: str
    domains: tuple[str, ...]
    trusted_authserv_ids: tuple[str, ...]
    policy: TenantPolicy
    created_us: int
    trust: Trust = NO_TRUST
    rules: Sequence[KeptRule] = dataclasses.field(default_factory=list)
    directory: str = ""

    @property
    def trusts(self) -> Trust:
        """All that it trusts."""
        return self.trust.and_ids(self.trusted_authserv_ids)

    @property
    def actions(self) -> ActionPolicy:
        """What it lets its verdicts do."""
        policy = self.policy
        return ActionPolicy(
            policy.get("mode", "monitor"),
            policy.get("reject"),
            policy.get("headers_in_monitor", False),
            policy.get("act_on_outbound", False),
        )


class Tenants:
    """The tenants of the platform and their API keys; `engine` comes from `open_engine`, migrated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        name: str,
        *,
        domains: Sequence[str],
        trusted_authserv_ids: Sequence[str] = (),
        trust: Trust = NO_TRUST,
        policy: TenantPolicy | None = None,
        created_us: int,
    ) -> Tenant:
        """Add a tenant and return it.

        name: 1 to 63 of a-z, 0-9, dot, underscore and hyphen, the first a letter or digit.
        Raises DataError where the name is taken, a domain is another tenant's, or a value is not what it should be.
        """
        if not _NAME.fullmatch(name):
            raise DataError(
                f"Tenant name {name!r} cannot be used. Write 1 to 63 of a-z, 0-9, '.', '_' and '-', "
                "starting with a letter or a digit."
            )
        tenant = Tenant(
            name,
            _domains(domains),
            _lower(trusted_authserv_ids),
            checked_policy(policy or {}),
            created_us,
            checked_trust(trust),
        )
        with writing(self._engine) as connection:
            _refuse_taken(connection, name)
            _refuse_claimed(connection, tenant)
            connection.execute(sa.insert(tenants), _row(tenant))
        return tenant

    def get(self, name: str) -> Tenant:
        """Return the tenant of that name; raises NotFound, with the nearest names, where there is none."""
        with reading(self._engine) as connection:
            return _get(connection, name)

    def list(self) -> tuple[Tenant, ...]:
        """Return every tenant that was not removed, by name."""
        with reading(self._engine) as connection:
            rows = connection.execute(_present().order_by(tenants.c.name)).all()
        return tuple(Tenant(*row) for row in rows)

    def remove(self, name: str, removed_us: int) -> int:
        """End a tenant for good: its keys are revoked, its domains, trust, policy and directory go; how many keys.

        Its name stays taken, since what was logged of it bears it: decisions and labels here, events and mail in the
        lake. Raises NotFound where there is no such tenant.
        """
        gone = {
            "domains": (),
            "trusted_authserv_ids": (),
            "trust": NO_TRUST,
            "policy": {},
            "rules": [],
            "directory": "",
        }
        with writing(self._engine) as connection:
            _get(connection, name)
            ended = connection.execute(
                sa.update(api_keys)
                .where(api_keys.c.tenant == name, api_keys.c.revoked_us.is_(None))
                .values(revoked_us=removed_us)
            )
            connection.execute(sa.update(tenants).where(tenants.c.name == name).values(**gone, removed_us=removed_us))
            erase(connection, name)
            return ended.rowcount

    def discard(self, name: str) -> None:
        """Undo `create`: no trace stays. Raises DataError where a key, a decision or a label names the tenant."""
        with writing(self._engine) as connection:
            erase(connection, name)
            connection.execute(sa.delete(tenants).where(tenants.c.name == name))

    def update(
        self,
        name: str,
        *,
        domains: Sequence[str] | None = None,
        trusted_authserv_ids: Sequence[str] | None = None,
        trust: Trust | None = None,
        policy: TenantPolicy | None = None,
        rules: Sequence[KeptRule] | None = None,
    ) -> Tenant:
        """Replace what is given, whole (a policy too), keep the rest, and return the tenant as it then is.

        Raises NotFound where there is no such tenant, DataError where a domain is another tenant's or a value is not
        what it should be.
        """
        changes: dict[str, object] = {}
        if domains is not None:
            changes["domains"] = _domains(domains)
        if trusted_authserv_ids is not None:
            changes["trusted_authserv_ids"] = _lower(trusted_authserv_ids)
        if trust is not None:
            changes["trust"] = checked_trust(trust)
        if policy is not None:
            changes["policy"] = checked_policy(policy)
        if rules is not None:
            changes["rules"] = checked_rules(rules)
        with writing(self._engine) as connection:
            before = _get(connection, name)
            if changes:
                if domains is not None:
                    new = [domain for domain in _domains(domains) if domain not in before.domains]
                    _refuse_claimed(connection, replace(before, domains=tuple(new)))
                connection.execute(sa.update(tenants).where(tenants.c.name == name).values(**changes))
            return _get(connection, name)

    def issue_key(self, tenant: str, label: str, created_us: int, roles: Iterable[str] = DEFAULT_ROLES) -> str:
        """Make a key for `tenant` and return it: the only time that it is seen.

        Raises NotFound where there is no such tenant, DataError where a working key bears that label, and on a role
        that is none of `TENANT_ROLES`.
        """
        held = checked_roles(roles, TENANT_ROLES)
        key = new_key()
        with writing(self._engine) as connection:
            _get(connection, tenant)
            if connection.execute(sa.select(api_keys.c.label).where(*_working(tenant, label))).first():
                raise DataError(
                    f"Tenant {tenant!r} has a working key labelled {label!r}. Revoke it or use another label."
                )
            row = {"key_sha256": digest(key), "tenant": tenant, "label": label, "created_us": created_us}
            connection.execute(sa.insert(api_keys), row | {"roles": held})
        Issued.times += 1
        return key

    def revoke_key(self, tenant: str, label: str, revoked_us: int) -> None:
        """End the working key with that label, for good; raises NotFound where there is none."""
        with writing(self._engine) as connection:
            ended = connection.execute(
                sa.update(api_keys).where(*_working(tenant, label)).values(revoked_us=revoked_us)
            )
            if ended.rowcount == 0:
                raise NotFound(f"Tenant {tenant!r} has no working key labelled {label!r}; `keys` lists them.")

    def keys(self, tenant: str) -> tuple[ApiKey, ...]:
        """Return the keys of `tenant`, revoked ones too, oldest first; raises NotFound."""
        listed = ("tenant", "label", "created_us", "revoked_us", "roles")
        wanted = sa.select(*(api_keys.c[name] for name in listed))
        with reading(self._engine) as connection:
            _get(connection, tenant)
            rows = connection.execute(
                wanted.where(api_keys.c.tenant == tenant).order_by(api_keys.c.created_us, api_keys.c.label)
            ).all()
        return tuple(ApiKey(*row) for row in rows)

    def authenticate(self, key: str) -> Principal | None:
        """Return who bears `key`, of a tenant or above tenants, or None for a key that is unknown or revoked."""
        return principal_of(self._engine, key)

    def working_keys(self) -> frozenset[str]:
        """Return the digests of all keys that `authenticate` knows, by one look."""
        return working_keys(self._engine)


def checked_policy(policy: TenantPolicy) -> TenantPolicy:
    """Return `policy` with its senders in their one form; raises DataError on a field that is unknown or wrong.

    An unknown field is refused: a block list under a misspelt name would block nothing and tell nobody.
    """
    fields = sorted(TenantPolicy.__annotations__)
    for name in policy:
        if name not in fields:
            raise DataError(f"Tenant policy has no field {name!r}.{_nearest(name, fields)} Fields: {fields}.")
    checked = TenantPolicy()
    if "allow_senders" in policy:
        checked["allow_senders"] = list(_each(checked_sender, policy["allow_senders"]))
    if "block_senders" in policy:
        checked["block_senders"] = list(_each(checked_sender, policy["block_senders"]))
    if "false_positive_budget" in policy:
        budget = policy["false_positive_budget"]
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget < 1:
            raise DataError(f"Tenant policy: false_positive_budget is {budget!r}; write a share of 1, as 0.001.")
        checked["false_positive_budget"] = float(budget)
    if "category_budgets" in policy:
        whole = checked.get("false_positive_budget")
        checked["category_budgets"] = checked_by_category(policy["category_budgets"], whole)
    if "unread" in policy:
        if policy["unread"] not in VERDICTS:
            raise DataError(f"Tenant policy: unread is {policy['unread']!r}; use one of {', '.join(VERDICTS)}.")
        checked["unread"] = policy["unread"]
    if "mode" in policy:
        if policy["mode"] not in MODES:
            raise DataError(f"Tenant policy: mode is {policy['mode']!r}; use one of {', '.join(MODES)}.")
        checked["mode"] = policy["mode"]
    if "reject" in policy:
        if policy["reject"] is not None and policy["reject"] not in REJECT_FROM:
            raise DataError(
                f"Tenant policy: reject is {policy['reject']!r}; use {', '.join(REJECT_FROM)}, or null for never."
            )
        checked["reject"] = policy["reject"]
    if "headers_in_monitor" in policy:
        checked["headers_in_monitor"] = _yes_or_no(policy["headers_in_monitor"], "headers_in_monitor")
    if "act_on_outbound" in policy:
        checked["act_on_outbound"] = _yes_or_no(policy["act_on_outbound"], "act_on_outbound")
    return checked


def _yes_or_no(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise DataError(f"Tenant policy: {field} is {value!r}; write true or false.")
    return value


def _each(normalise: Callable[[str], str], values: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise DataError(f"Expected a list of names, not the text {values!r}. Write [{values!r}].")
    cleaned = tuple(dict.fromkeys(map(normalise, values)))
    if "" in cleaned:
        raise DataError(f"The list {list(values)!r} holds an empty name. Leave it out.")
    return cleaned


def _lower(values: Sequence[str]) -> tuple[str, ...]:
    return _each(lambda value: value.strip().rstrip(".").lower(), values)


def _domains(values: Sequence[str]) -> tuple[str, ...]:
    return _each(own_domain, values)


def _refuse_claimed(connection: Connection, tenant: Tenant) -> None:
    """Raise DataError where a domain of the tenant is, or lies within, one of another's: its mail would be two's."""
    serialise(connection, "tenants' domains")
    others = sa.select(tenants.c.name, tenants.c.domains).where(tenants.c.name != tenant.name)
    claimed = [(domain, row.name) for row in connection.execute(others) for domain in row.domains]
    for wanted in tenant.domains:
        for domain, owner in claimed:
            if overlap(wanted, domain):
                raise DataError(
                    f"Domain {wanted!r} is claimed by tenant {owner!r} already, as {domain!r}. Take it from that one "
                    "first: a recipient's mail belongs to one tenant."
                )


def _row(tenant: Tenant) -> dict[str, object]:
    return {
        "name": tenant.name,
        "domains": tenant.domains,
        "trusted_authserv_ids": tenant.trusted_authserv_ids,
        "policy": tenant.policy,
        "created_us": tenant.created_us,
        "trust": tenant.trust,
    }


def _present() -> sa.Select[Any]:
    """Columns of `Tenant`, of those that were not removed."""
    columns = [column for column in tenants.c if column is not tenants.c.removed_us]
    return sa.select(*columns).where(tenants.c.removed_us.is_(None))


def _refuse_taken(connection: Connection, name: str) -> None:
    row = connection.execute(sa.select(tenants.c.removed_us).where(tenants.c.name == name)).first()
    if row is not None:
        removed = "" if row.removed_us is None else " and was removed, and what was logged bears that name still"
        raise DataError(f"Tenant {name!r} exists already{removed}. Choose another name, or update it.")


def _get(connection: Connection, name: str) -> Tenant:
    row = connection.execute(_present().where(tenants.c.name == name)).first()
    if row is None:
        if connection.execute(sa.select(tenants.c.name).where(tenants.c.name == name)).first() is not None:
            raise NotFound(f"Tenant {name!r} was removed.")
        names = list(connection.execute(sa.select(tenants.c.name)).scalars())
        raise NotFound(f"There is no tenant {name!r}.{_nearest(name, names)} Create it first.")
    return Tenant(*row)


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3)
    return f" Hint: did you mean {' or '.join(map(repr, near))}?" if near else ""


def _working(tenant: str, label: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (api_keys.c.tenant == tenant, api_keys.c.label == label, api_keys.c.revoked_us.is_(None))
