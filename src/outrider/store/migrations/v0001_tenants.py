"""First form: tenants, streams, credentials, domains, and the audit log with what protects it.

The tables are written out here rather than taken from `store.schema`, which goes on to change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NAME = sa.String(255)
_NO_HASH = "0" * 64
_REFUSAL = "the audit log is append-only"


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", _NAME, sa.ForeignKey("tenants.name"), nullable=False)


def _rights() -> list[sa.Column[object]]:
    return [
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("domains", sa.JSON, nullable=False),
        sa.Column("streams", sa.JSON, nullable=False),
        sa.Column("stream", _NAME, nullable=False),
        sa.Column("networks", sa.JSON, nullable=False),
        sa.Column("is_sandbox", sa.Boolean, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("expires_time", sa.Float),
        sa.Column("created_time", sa.Float, nullable=False),
    ]


def _create_tenants() -> None:
    tenants = op.create_table(
        "tenants",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("verifies_domains", sa.Boolean, nullable=False),
        sa.Column("created_time", sa.Float, nullable=False),
    )
    streams = op.create_table(
        "streams",
        _tenant(),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created_time", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name"),
    )
    op.create_table(
        "domains",
        _tenant(),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("verified_time", sa.Float),
        sa.Column("verified_by", sa.String(16), nullable=False),
        sa.Column("checked_time", sa.Float),
        sa.Column("created_time", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name"),
    )
    first = {"name": "default", "created_time": 0.0}
    op.bulk_insert(tenants, [{**first, "description": "", "is_enabled": True, "verifies_domains": True}])
    op.bulk_insert(streams, [{**first, "tenant": "default", "kind": "transactional"}])


def _create_credentials() -> None:
    op.create_table(
        "smtp_users",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        _tenant(),
        *_rights(),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", _NAME, primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        _tenant(),
        *_rights(),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", sa.String(32), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", _NAME, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("tenant", _NAME, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "hash": _NO_HASH}])


def _protect_in_sqlite() -> None:
    for event, table, condition in (
        ("UPDATE", "audit", ""),
        ("DELETE", "audit", ""),
        ("UPDATE", "audit_head", "WHEN NEW.number <= OLD.number"),
        ("DELETE", "audit_head", ""),
    ):
        op.execute(
            f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )


def _protect_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION outrider_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    call = "EXECUTE FUNCTION outrider_append_only()"
    for table in ("audit", "audit_head"):
        op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW {call}")
        op.execute(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} {call}")
    op.execute(f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW {call}")
    op.execute(
        "CREATE TRIGGER audit_head_no_update BEFORE UPDATE ON audit_head FOR EACH ROW "
        f"WHEN (NEW.number <= OLD.number) {call}"
    )


def upgrade() -> None:
    """Make everything."""
    _create_tenants()
    _create_credentials()
    _create_audit()
    if op.get_bind().dialect.name == "postgresql":
        _protect_in_postgresql()
    else:
        _protect_in_sqlite()
