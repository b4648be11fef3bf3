"""Trust of a tenant beyond authserv-ids: hops, a position, ARC sealers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; tenants that are there trust nothing more than before."""
    op.add_column("tenants", sa.Column("trust", sa.JSON, nullable=False, server_default=sa.text("'{}'")))


def downgrade() -> None:
    """Drop the column, and what tenants said in it."""
    op.drop_column("tenants", "trust")
