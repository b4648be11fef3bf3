"""Rules of a tenant's own, and rules of the platform that it has turned off."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; tenants that are there have none."""
    op.add_column("tenants", sa.Column("rules", sa.JSON, nullable=False, server_default=sa.text("'[]'")))


def downgrade() -> None:
    """Drop the column: every rule of the platform is on again, and tenants' own are gone."""
    op.drop_column("tenants", "rules")
