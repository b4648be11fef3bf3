"""First tables: tenants and keys, decisions, labels, models and promotions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "tenants",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("domains", sa.JSON, nullable=False),
        sa.Column("trusted_authserv_ids", sa.JSON, nullable=False),
        sa.Column("policy", sa.JSON, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tenants"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_sha256", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("revoked_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("key_sha256", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"], name="fk_api_keys_tenant"),
    )
    op.create_index(
        "uq_api_keys_tenant_label_active",
        "api_keys",
        ["tenant", "label"],
        unique=True,
        sqlite_where=sa.text("revoked_us IS NULL"),
        postgresql_where=sa.text("revoked_us IS NULL"),
    )
    op.create_table(
        "decisions",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("received_at_us", sa.BigInteger, nullable=False),
        sa.Column("decided_model", sa.Text, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("category", sa.Text),
        sa.Column("degraded", sa.Boolean, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("sender_domain", sa.Text, nullable=False),
        sa.Column("recipients", sa.JSON, nullable=False),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "message_id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"], name="fk_decisions_tenant"),
        sa.UniqueConstraint("tenant", "decision_id", name="uq_decisions_tenant_decision_id"),
        sa.UniqueConstraint("tenant", "idempotency_key", name="uq_decisions_tenant_idempotency_key"),
    )
    op.create_index(
        "ix_decisions_tenant_received_at_us_seq_message_id",
        "decisions",
        ["tenant", "received_at_us", "seq", "message_id"],
    )
    op.create_table(
        "labels",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("label_id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("known_at_us", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("given_by", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "label_id", name="pk_labels"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"], name="fk_labels_tenant"),
    )
    op.create_index(
        "ix_labels_tenant_message_id_known_at_us_seq_label_id",
        "labels",
        ["tenant", "message_id", "known_at_us", "seq", "label_id"],
    )
    op.create_table(
        "models",
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("artefact_uri", sa.Text, nullable=False),
        sa.Column("artefact_sha256", sa.Text, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("model_id", name="pk_models"),
        sa.UniqueConstraint("tenant", "name", "version", name="uq_models_tenant_name_version"),
    )
    op.create_table(
        "promotions",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", "position", name="pk_promotions"),
        sa.ForeignKeyConstraint(
            ["tenant", "name", "version"],
            ["models.tenant", "models.name", "models.version"],
            name="fk_promotions_tenant_name_version",
        ),
    )


def downgrade() -> None:
    """Drop the tables, and all that they hold."""
    for table in ("promotions", "models", "labels", "decisions", "api_keys", "tenants"):
        op.drop_table(table)
