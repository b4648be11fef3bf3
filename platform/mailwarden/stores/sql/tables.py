"""The tables of the SQL stores, as the migrations must leave them.

Every time is microseconds since the epoch, UTC (`*_us`, BIGINT). A row of `models` or `promotions`
whose tenant is the empty text belongs to the whole platform: NULLs would escape the unique keys.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from mailwarden.domain.mail.trust import Trust

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class MailText(TypeDecorator[str]):
    """Text that a mail's sender chose: NUL and lone surrogates, which databases refuse, become U+FFFD."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Replace what cannot be stored, so that no message can make its own decision fail to be kept."""
        if value is None or (value.isascii() and "\x00" not in value):
            return value
        return _UNSTORABLE.sub("\ufffd", value)


class TextTuple(TypeDecorator[tuple[str, ...]]):
    """A tuple of texts, stored as a JSON list."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> Any:
        """Hand the JSON type a list."""
        return None if value is None else list(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> tuple[str, ...] | None:
        """Read the list back as a tuple."""
        return None if value is None else tuple(value)


class TrustColumn(TypeDecorator[Trust]):
    """A tenant's trust, stored as a JSON object of what it sets."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Trust | None, dialect: sa.Dialect) -> Any:
        """Hand the JSON type an object."""
        return None if value is None else value.to_json()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Trust | None:
        """Read the object back."""
        return None if value is None else Trust.from_json(value)


tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("domains", TextTuple, nullable=False),
    sa.Column("trusted_authserv_ids", TextTuple, nullable=False),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("trust", TrustColumn, nullable=False, server_default=sa.text("'{}'")),
    sa.Column("removed_us", sa.BigInteger),
    sa.Column("rules", sa.JSON, nullable=False, server_default=sa.text("'[]'")),
    sa.Column("directory", sa.Text, nullable=False, server_default=""),
)

# One row a tenant: a directory is replaced, and read, as a whole.
directories = sa.Table(
    "directories",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.name"), primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("entries", sa.BigInteger, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("set_us", sa.BigInteger, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_sha256", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.name"), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("revoked_us", sa.BigInteger),
    sa.Column("roles", TextTuple, nullable=False, server_default=sa.text('\'["score", "label", "read"]\'')),
)
# A label may be used again once its key is revoked: keys are rotated under one label.
sa.Index(
    "uq_api_keys_tenant_label_active",
    api_keys.c.tenant,
    api_keys.c.label,
    unique=True,
    sqlite_where=api_keys.c.revoked_us.is_(None),
    postgresql_where=api_keys.c.revoked_us.is_(None),
)

platform_keys = sa.Table(
    "platform_keys",
    metadata,
    sa.Column("key_sha256", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("revoked_us", sa.BigInteger),
    sa.Column("roles", TextTuple, nullable=False),
)
sa.Index(
    "uq_platform_keys_label_active",
    platform_keys.c.label,
    unique=True,
    sqlite_where=platform_keys.c.revoked_us.is_(None),
    postgresql_where=platform_keys.c.revoked_us.is_(None),
)

# No foreign key: what was done to a tenant is told after the tenant is gone.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("who", MailText, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("target", MailText, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Index(None, "tenant", "number"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.name"), primary_key=True),
    sa.Column("decision_id", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, primary_key=True),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("decided_model", sa.Text, nullable=False),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("category", sa.Text),
    sa.Column("degraded", sa.Boolean, nullable=False),
    sa.Column("sender", MailText, nullable=False),
    sa.Column("sender_domain", MailText, nullable=False),
    sa.Column("recipients", TextTuple, nullable=False),
    sa.Column("direction", sa.Text, nullable=False),
    sa.Column("response", sa.Text, nullable=False),
    sa.Column("message_id_header", MailText, nullable=False, server_default=sa.text("''")),
    sa.UniqueConstraint("tenant", "decision_id"),
    sa.UniqueConstraint("tenant", "idempotency_key"),
    sa.Index(None, "tenant", "received_at_us", "seq", "message_id"),
    sa.Index("ix_decisions_message_id_header", "tenant", "message_id_header", "received_at_us", "seq", "message_id"),
)

labels = sa.Table(
    "labels",
    metadata,
    sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.name"), primary_key=True),
    sa.Column("label_id", sa.Text, primary_key=True),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("known_at_us", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("given_by", sa.Text, nullable=False),
    sa.Index(None, "tenant", "message_id", "known_at_us", "seq", "label_id"),
    sa.Index(None, "tenant", "seq", "label_id"),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("model_id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("artefact_uri", sa.Text, nullable=False),
    sa.Column("artefact_sha256", sa.Text, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
    sa.UniqueConstraint("tenant", "name", "version"),
)

promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["tenant", "name", "version"], ["models.tenant", "models.name", "models.version"]),
)

# A tenant of the empty text: nobody's mail, held because it went in a circle. Hence no foreign key.
quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("held_id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("decision_id", sa.Text, nullable=False),
    sa.Column("mail_from", MailText, nullable=False),
    sa.Column("recipients", TextTuple, nullable=False),
    sa.Column("reason", MailText, nullable=False),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("client_ip", sa.Text, nullable=False),
    sa.Column("subject", MailText, nullable=False),
    sa.Column("header_from", MailText, nullable=False),
    sa.Column("next_hop", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("queue_id", MailText, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("held_us", sa.BigInteger, nullable=False),
    sa.Column("expires_us", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("changed_us", sa.BigInteger, nullable=False),
    sa.Column("left", TextTuple, nullable=False),
    sa.Column("sending", sa.Boolean, nullable=False),
    sa.Column("claim", sa.Text, nullable=False),
    sa.Column("passed", TextTuple, nullable=False),
    sa.Column("error", MailText, nullable=False),
    sa.Index(None, "tenant", "state", "held_us", "held_id"),
    sa.Index(None, "state", "expires_us"),
    sa.Index(None, "sha256"),
    sa.Index(None, "queue_id"),
)
