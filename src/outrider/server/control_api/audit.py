"""Routes of the audit log: who changed what, and whether the log is whole."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query

from outrider.server.control_api.hub import WithHub
from outrider.server.control_api.models import ITEMS_MAX, Audit, AuditCheck, AuditRow, Number
from outrider.store.audit import list_audit, parse_head, verify

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get("", summary="Rows, newest first")
async def rows(
    hub: WithHub,
    limit: Annotated[int, Query(ge=1, le=ITEMS_MAX)] = 50,
    cursor: Number | None = None,
    tenant: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> Audit:
    """`action` is exact, or all that begin with it and a dot."""
    found = await list_audit(
        hub.engine, limit=limit, before=cursor, tenant=tenant, actor=actor, action=action, subject=subject
    )
    items = [
        AuditRow(
            number=row.number,
            time=row.time,
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            tenant=row.tenant,
            reason=row.reason,
            details=msgspec.json.decode(row.details),
            hash=row.hash,
        )
        for row in found
    ]
    return Audit(items=items, next_cursor=found[-1].number if len(found) == limit else None)


@router.get("/check", summary="Check the whole chain of hashes")
async def check(hub: WithHub, witness: str | None = None) -> AuditCheck:
    """With a `witness` kept from an earlier check, a chain that was rewritten whole is found too."""
    found = await verify(hub.engine, None if witness is None else parse_head(witness))
    return AuditCheck(ok=not found.fault, rows=found.rows, fault=found.fault, head=str(found.head))
