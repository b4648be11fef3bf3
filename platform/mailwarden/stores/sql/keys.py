"""API keys: what each may do, and those that stand above tenants."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from mailwarden.errors import DataError, NotFound
from mailwarden.stores.sql.engine import reading, writing
from mailwarden.stores.sql.tables import api_keys, platform_keys

TenantRole = Literal["score", "label", "read", "content", "admin"]
PlatformRole = Literal["operator", "gateway", "content"]
Role = Literal["score", "label", "read", "content", "admin", "operator", "gateway"]

TENANT_ROLES: tuple[TenantRole, ...] = get_args(TenantRole)
PLATFORM_ROLES: tuple[PlatformRole, ...] = get_args(PlatformRole)
DEFAULT_ROLES: tuple[TenantRole, ...] = ("score", "label", "read")
"""Of a tenant's key where none is named; what keys from before there were roles may do."""

_KEY = re.compile(r"mw_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as listed, never the key itself. tenant: None of one above tenants. label: what it is for; revoked_us:
    None while it works. roles: what it may do, in the order of `TENANT_ROLES` or `PLATFORM_ROLES`."""

    tenant: str | None
    label: str
    created_us: int
    revoked_us: int | None
    roles: tuple[str, ...] = DEFAULT_ROLES


@dataclass(frozen=True, slots=True)
class Principal:
    """Who bears a working key. tenant: whose it is, None above tenants. label: of the key."""

    tenant: str | None
    label: str
    roles: frozenset[str]


class PlatformKeys:
    """Keys above tenants: of operators, who name the tenant that they act for, and of mail gateways."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def issue(self, label: str, created_us: int, roles: Iterable[str]) -> str:
        """Make a key and return it: the only time that it is seen.

        Raises DataError on a role that is none of `PLATFORM_ROLES`, and where a working key bears that label.
        """
        held = checked_roles(roles, PLATFORM_ROLES)
        key = new_key()
        with writing(self._engine) as connection:
            taken = sa.select(platform_keys.c.label).where(
                platform_keys.c.label == label, platform_keys.c.revoked_us.is_(None)
            )
            if connection.execute(taken).first():
                raise DataError(f"A working key above tenants is labelled {label!r}. Revoke it or use another label.")
            row = {"key_sha256": digest(key), "label": label, "created_us": created_us, "roles": held}
            connection.execute(sa.insert(platform_keys), row)
        Issued.times += 1
        return key

    def revoke(self, label: str, revoked_us: int) -> None:
        """End the working key with that label, for good; raises NotFound where there is none."""
        with writing(self._engine) as connection:
            ended = connection.execute(
                sa.update(platform_keys)
                .where(platform_keys.c.label == label, platform_keys.c.revoked_us.is_(None))
                .values(revoked_us=revoked_us)
            )
            if ended.rowcount == 0:
                raise NotFound(f"No working key above tenants is labelled {label!r}; `keys` lists them.")

    def list(self) -> tuple[ApiKey, ...]:
        """Return the keys, revoked ones too, oldest first."""
        keys = platform_keys.c
        wanted = sa.select(keys.label, keys.created_us, keys.revoked_us, keys.roles)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.order_by(keys.created_us, keys.label)).all()
        return tuple(ApiKey(None, *row) for row in rows)


class Issued:
    """How many keys this process made: whoever remembers which keys work looks again where that has changed."""

    times = 0


def is_key(key: str) -> bool:
    """Whether that is of the form of a key."""
    return _KEY.fullmatch(key) is not None


def working_keys(engine: Engine) -> frozenset[str]:
    """The digests of all keys that work, of tenants and above them, in one look."""
    looks = (sa.select(keys.c.key_sha256).where(keys.c.revoked_us.is_(None)) for keys in (api_keys, platform_keys))
    with reading(engine) as connection:
        return frozenset(connection.execute(sa.union_all(*looks)).scalars())


def principal_of(engine: Engine, key: str) -> Principal | None:
    """Return who bears `key`, or None for a key that is unknown or revoked.

    The look-up goes by the key's hash, whose bytes a caller cannot steer, and the comparison takes the same time
    wherever the two differ.
    """
    if not is_key(key):
        return None
    wanted = digest(key)
    mine, above = api_keys.c, platform_keys.c
    with reading(engine) as connection:
        row = connection.execute(
            sa.select(mine.key_sha256, mine.tenant, mine.label, mine.roles).where(
                mine.key_sha256 == wanted, mine.revoked_us.is_(None)
            )
        ).first()
        if row is None:
            row = connection.execute(
                sa.select(above.key_sha256, sa.null(), above.label, above.roles).where(
                    above.key_sha256 == wanted, above.revoked_us.is_(None)
                )
            ).first()
    if row is None or not hmac.compare_digest(row[0], wanted):
        return None
    return Principal(row[1], row[2], frozenset(row[3]))


def checked_roles(roles: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The roles, each once, in the order of `known`; raises DataError on none, or one that is not known."""
    given = set(roles)
    if wrong := sorted(given - set(known)):
        raise DataError(f"Role {wrong[0]!r} is unknown here. Use one or more of {', '.join(known)}.")
    if not given:
        raise DataError(f"A key must have a role. Use one or more of {', '.join(known)}.")
    return tuple(role for role in known if role in given)


def new_key() -> str:
    """A key that nobody has."""
    return "mw_" + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """What is stored of a key: its SHA-256.

    A slow, salted hash protects what people choose, because that can be guessed; 256 random bits cannot, so that one
    plain hash is enough, and can be looked up by index.
    """
    return hashlib.sha256(key.encode("ascii")).hexdigest()
