"""The tables as the queries see them; `store.migrations` makes them.

Theory: one schema for SQLite and PostgreSQL, so only types that both have: text, whole numbers, floats for
Unix seconds, truth values, and JSON for short lists that are always read whole. Names are keys, because they
are what messages, events and configurations hold; so nothing here can be renamed.
"""

from typing import Final

import sqlalchemy as sa

REVISION: Final = "0001"
"""The newest of `store.migrations`, which makes these tables; a test holds both together."""

NAME = sa.String(255)

metadata = sa.MetaData()

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("name", NAME, primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("is_enabled", sa.Boolean, nullable=False),
    sa.Column("verifies_domains", sa.Boolean, nullable=False),
    sa.Column("created_time", sa.Float, nullable=False),
)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", NAME, sa.ForeignKey("tenants.name"), nullable=False)


streams = sa.Table(
    "streams",
    metadata,
    _tenant(),
    sa.Column("name", NAME, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("created_time", sa.Float, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "name"),
)


def _rights() -> list[sa.Column[object]]:
    """Columns of `records.Rights` after the tenant, in its order."""
    return [
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("domains", sa.JSON, nullable=False),
        sa.Column("streams", sa.JSON, nullable=False),
        sa.Column("stream", NAME, nullable=False),
        sa.Column("networks", sa.JSON, nullable=False),
        sa.Column("is_sandbox", sa.Boolean, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("expires_time", sa.Float),
        sa.Column("created_time", sa.Float, nullable=False),
    ]


users = sa.Table(
    "smtp_users",
    metadata,
    sa.Column("name", NAME, primary_key=True),
    sa.Column("password_hash", sa.Text, nullable=False),
    _tenant(),
    *_rights(),
)

keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", NAME, primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    _tenant(),
    *_rights(),
)

domains = sa.Table(
    "domains",
    metadata,
    _tenant(),
    sa.Column("name", NAME, nullable=False),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("verified_time", sa.Float),
    sa.Column("verified_by", sa.String(16), nullable=False),
    sa.Column("checked_time", sa.Float),
    sa.Column("created_time", sa.Float, nullable=False),
    sa.PrimaryKeyConstraint("tenant", "name"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time", sa.String(32), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", NAME, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("tenant", NAME, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
"""One row, id 1: the newest audit row. Writers lock it, so the chain has one end; readers see by it that
something changed."""
