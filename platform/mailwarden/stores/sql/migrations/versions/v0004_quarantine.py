"""The quarantine: what is held, for whom and until when."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "quarantine",
        sa.Column("held_id", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("mail_from", sa.Text, nullable=False),
        sa.Column("recipients", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("client_ip", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("header_from", sa.Text, nullable=False),
        sa.Column("next_hop", sa.Text, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("queue_id", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("held_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.Column("left", sa.JSON, nullable=False),
        sa.Column("sending", sa.Boolean, nullable=False),
        sa.Column("claim", sa.Text, nullable=False),
        sa.Column("passed", sa.JSON, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("held_id", name="pk_quarantine"),
    )
    for columns in (["tenant", "state", "held_us", "held_id"], ["state", "expires_us"], ["sha256"], ["queue_id"]):
        op.create_index(f"ix_quarantine_{'_'.join(columns)}", "quarantine", columns)


def downgrade() -> None:
    """Drop it, and with it what is known of held mail; its bytes stay."""
    op.drop_table("quarantine")
