"""Directories of tenants: who works there, who its VIPs and partners are."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, and to tenants which directory is theirs; those that are there have none."""
    op.create_table(
        "directories",
        sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.name", name="fk_directories_tenant_tenants")),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("entries", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("set_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_directories"),
    )
    op.add_column("tenants", sa.Column("directory", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Drop them: what directories said of mail stays with the mail."""
    op.drop_column("tenants", "directory")
    op.drop_table("directories")
