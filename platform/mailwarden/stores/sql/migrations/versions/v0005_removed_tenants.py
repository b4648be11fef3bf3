"""When a tenant was removed; its row stays, since what was logged of it names it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; tenants that are there were not removed."""
    op.add_column("tenants", sa.Column("removed_us", sa.BigInteger))


def downgrade() -> None:
    """Drop the column: removed tenants are there again, without keys, domains and policy."""
    op.drop_column("tenants", "removed_us")
