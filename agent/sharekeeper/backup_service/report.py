"""What the backup service says about itself: health reasons, metrics, status."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sharekeeper.backup_service.quorum_report import SINGLE_ENDPOINT, quorum_metrics, quorum_status
from sharekeeper.backup_service.service import BackupService
from sharekeeper.backup_service.sibling import Sibling
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.protocol_state import running_part
from sharekeeper.mutual_attestation import refused_evidence
from sharekeeper.ops.report import Metric, Report, counter, gauge
from sharekeeper.ops.status import (
    STATUS_SCHEMA,
    common_metrics,
    fault_reasons,
    faults_status,
    network_status,
    step_status,
    utc,
    view_status,
)
from sharekeeper.protocol.policy import HandOutPolicy
from sharekeeper.protocol.survival import SiblingCopy

_NS: Final = 1_000_000_000


def report_backup_service(service: BackupService, now_ns: int) -> Report:
    """The report at wall time `now_ns`."""
    current = _current(service)
    reasons = _reasons(service, current)
    return Report(
        reasons=reasons,
        warnings=_warnings(service),
        metrics=[*_metrics(service, current, now_ns), *quorum_metrics(service.endpoints, service.gate, now_ns)],
        status=_status(service, current, reasons, now_ns),
    )


def _wanted(service: BackupService) -> Keyset | None:
    """The keyset the service must hold: the one in force, if it has domains and the account is a participant."""
    view = service.watch.newest
    running = None if view is None else running_part(view.state)
    if running is None or running.participants.find(service.settings.account_id) is None:
        return None
    return running.keyset if running.keyset.domains else None


def _current(service: BackupService) -> StoredBackup | None:
    return None if _wanted(service) is None else service.current_backup


def _reasons(service: BackupService, current: StoredBackup | None) -> list[str]:
    reasons = fault_reasons(service.faults)
    if service.watch.newest is None:
        return [*reasons, "chain: no final block was seen yet"]
    if service.watch.fresh() is None:
        reasons.append("chain: the newest final block seen is stale")
    if not service.registered:
        reasons.append("registration: the contract does not have this backup service in force")
    if _wanted(service) is not None and current is None:
        reasons.append("backup: the keyset in force is not in the vault")
    elif service.verified_at_ns is None:
        reasons.append("verification: the vault was not verified since the start")
    if service.sibling is not None and service.sibling.settings.demanded:
        reasons += _sibling_concerns(service.sibling, wanted=_wanted(service) is not None)
    return reasons


def _sibling_concerns(sibling: Sibling, *, wanted: bool) -> list[str]:
    """What keeps the account's other backup service from standing in for this one. `wanted`: there are shares to hold."""
    if sibling.tls_key is None:
        return ["sibling: the contract has no other backup service of this account in force"]
    if wanted and sibling.copy is not SiblingCopy.CONFIRMED:
        return ["sibling: it is not confirmed that the other backup service holds the same shares"]
    return []


def _warnings(service: BackupService) -> list[str]:
    """What the operator has chosen and should not forget; the service is healthy with it."""
    trusted = service.settings.policy is HandOutPolicy.ATTESTED  # the own node runs inside the TEE
    warnings = [SINGLE_ENDPOINT] if service.endpoints.alone and not trusted else []
    if service.sibling is not None and not service.sibling.settings.demanded:
        warnings += _sibling_concerns(service.sibling, wanted=_wanted(service) is not None)
    return warnings


def _metrics(service: BackupService, current: StoredBackup | None, now_ns: int) -> Sequence[Metric]:
    held = service.held()
    verified_at_ns = None if current is None else _verified_at_ns(service, current)
    totals = Counter(service.exchanges_total) + Counter(
        {} if service.sibling is None else service.sibling.exchanges_total
    )
    exchanges = [({"purpose": purpose, "result": result}, count) for (purpose, result), count in totals.items()]
    return [
        *common_metrics(service.watch.newest, service.faults, now_ns),
        gauge("sharekeeper_registered", "1 when the contract has this backup service in force.", service.registered),
        gauge("sharekeeper_backups_held", "Backups in the vault.", len(held)),
        gauge("sharekeeper_backup_current", "1 when the keyset in force is in the vault.", current is not None),
        gauge(
            "sharekeeper_epoch_held",
            "Newest epoch in the vault.",
            max((float(backup.keyset.epoch_id) for backup in held), default=None),
        ),
        gauge(
            "sharekeeper_backup_age_seconds",
            "Seconds since the backup of the keyset in force was stored.",
            None if current is None else (now_ns - current.stored_at_ns) / _NS,
        ),
        gauge(
            "sharekeeper_backup_verified_age_seconds",
            "Seconds since the backup of the keyset in force was last opened.",
            None if verified_at_ns is None else (now_ns - verified_at_ns) / _NS,
        ),
        _sibling_metric(service.sibling),
        counter("sharekeeper_exchanges_total", "Exchanges that ended, by purpose and result.", exchanges),
        refused_evidence(service.attestation),
    ]


def _sibling_metric(sibling: Sibling | None) -> Metric:
    return gauge(
        "sharekeeper_sibling_copy_confirmed",
        "1 when the account's other backup service has proved that it holds the same shares.",
        None if sibling is None else sibling.copy is SiblingCopy.CONFIRMED,
    )


def _status(
    service: BackupService, current: StoredBackup | None, reasons: Sequence[str], now_ns: int
) -> dict[str, Any]:
    settings = service.settings
    return {
        "schema": STATUS_SCHEMA,
        "type": "backup_service_status",
        "account_id": settings.account_id,
        "tls_public_key": str(settings.own.tls_public_key),
        "signer_public_key": str(settings.own.signer_key),
        "network": network_status(settings.network),
        "policy": settings.policy.value,
        "healthy": not reasons,
        "reasons": list(reasons),
        "warnings": _warnings(service),
        **view_status(service.watch.newest, now_ns),
        "registered": service.registered,
        "slot": service.slot,
        "current_backup": None if current is None else _backup(service, current),
        "backups": [_backup(service, backup) for backup in service.held()],
        "delivered_recovery_id": service.delivered,
        "sibling": None if service.sibling is None else _sibling_status(service.sibling),
        "quorum": quorum_status(service.endpoints),
        "step": step_status(service.step),
        "faults": faults_status(service.faults),
    }


def _sibling_status(sibling: Sibling) -> dict[str, Any]:
    address, confirmed_at_ns = sibling.settings.address, sibling.confirmed_at_ns
    return {
        "address": f"{address.host}:{address.port}",
        "tls_public_key": None if sibling.tls_key is None else str(sibling.tls_key),
        "copy": sibling.copy.value,
        "confirmed_at": None if confirmed_at_ns is None else utc(confirmed_at_ns),
    }


def _backup(service: BackupService, backup: StoredBackup) -> dict[str, Any]:
    return {
        "backup_id": backup.backup_id,
        "epoch_id": backup.keyset.epoch_id,
        "domains": len(backup.keyset.domains),
        "keyset_digest": backup.digest,
        "stored_at": utc(backup.stored_at_ns),
        "verified_at": utc(_verified_at_ns(service, backup)),
    }


def _verified_at_ns(service: BackupService, backup: StoredBackup) -> int:
    """When the backup was last opened: a store ends with reading it back."""
    return max(backup.stored_at_ns, service.verified_at_ns or 0)
