"""Roles of keys, keys above tenants, the audit log, and a decision's Message-ID."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_REFUSAL = "the audit log is append-only"


def upgrade() -> None:
    """Add them; keys that are there may score, label and read, as they could."""
    op.add_column(
        "api_keys",
        sa.Column("roles", sa.JSON, nullable=False, server_default=sa.text("""'["score", "label", "read"]'""")),
    )
    op.create_table(
        "platform_keys",
        sa.Column("key_sha256", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("revoked_us", sa.BigInteger),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("key_sha256", name="pk_platform_keys"),
    )
    op.create_index(
        "uq_platform_keys_label_active",
        "platform_keys",
        ["label"],
        unique=True,
        sqlite_where=sa.text("revoked_us IS NULL"),
        postgresql_where=sa.text("revoked_us IS NULL"),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_tenant_number", "audit", ["tenant", "number"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()"
        )
    else:
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{act.lower()} BEFORE {act} ON audit "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )
    op.add_column("decisions", sa.Column("message_id_header", sa.Text, nullable=False, server_default=sa.text("''")))
    op.create_index(
        "ix_decisions_message_id_header",
        "decisions",
        ["tenant", "message_id_header", "received_at_us", "seq", "message_id"],
    )
    op.create_index("ix_labels_tenant_seq_label_id", "labels", ["tenant", "seq", "label_id"])


def downgrade() -> None:
    """Drop them, and what was written in them."""
    op.drop_index("ix_labels_tenant_seq_label_id", "labels")
    op.drop_index("ix_decisions_message_id_header", "decisions")
    op.drop_column("decisions", "message_id_header")
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_append_only()")
    op.drop_table("platform_keys")
    op.drop_column("api_keys", "roles")
