"""`sharekeeper vault`: look into the vault, check it, export from it, seal it anew, say what it survives.

Reading works beside a running backup service; `rekey` and `verify --adopt` change the vault and need it stopped.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.durable_file import write_file
from sharekeeper.adapters.vault_operator import OperatorVault
from sharekeeper.adapters.vault_reader import Finding, VaultReport
from sharekeeper.cli.common import BACKUP_ID, FILE, config_option, json_option, show, table
from sharekeeper.cli.near import connected
from sharekeeper.config import BackupServiceConfig, load_backup_service
from sharekeeper.config_values import NearConfig
from sharekeeper.crypto.sealing import recipient_of
from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import NetworkId
from sharekeeper.domain.keyset import BackupId
from sharekeeper.errors import ConfigInvalid, NoBackup, StoreFailed, VaultCorrupt
from sharekeeper.keys import load_backup_service_keys
from sharekeeper.ops.status import utc
from sharekeeper.protocol.codec import canonical_json, encode_keyset, encode_shares
from sharekeeper.protocol.survival import WORDS, SiblingCopy, Survival, decide_survival


@click.group()
def command() -> None:
    """Look into the vault, check it, export from it, seal it anew, say what it survives."""


@command.command("list")
@config_option
@json_option
def list_backups(*, config_path: Path, as_json: bool) -> None:
    """List the backups whose manifests are authentic, oldest first."""
    found = _vault(load_backup_service(config_path)).index()
    lines = [f"{one.backup_id}  epoch {one.keyset.epoch_id}  {utc(one.stored_at_ns)}" for one in found]
    show("vault_list", {"backups": [_facts(one) for one in found]}, "\n".join(lines) or "no backup", as_json=as_json)


@command.command("show")
@click.argument("backup_id", type=BACKUP_ID, required=False)
@config_option
@json_option
def show_backup(*, backup_id: BackupId | None, config_path: Path, as_json: bool) -> None:
    """Show what the signed manifest of a backup says; of the newest one if BACKUP_ID is not given."""
    found = _chosen(_vault(load_backup_service(config_path)).index(), backup_id)
    facts = {**_facts(found), "keyset": encode_keyset(found.keyset)}
    rows = {name.replace("_", " "): value for name, value in _facts(found).items()}
    show("vault_backup", facts, table(rows), as_json=as_json)


@command.command()
@click.option("--shallow", is_flag=True, help="Check signatures and hashes only; decrypt nothing.")
@click.option(
    "--adopt",
    is_flag=True,
    help="First accept every backup that is authentic and opens as all there is: the way out after the head record"
    " was lost. A missing backup cannot be noticed any more.",
)
@config_option
@json_option
def verify(*, shallow: bool, adopt: bool, config_path: Path, as_json: bool) -> int:
    """Check every backup: signature, hashes, and that it opens to the shares of its keyset.

    Exits with the status of `vault_corrupt` if anything is wrong, and changes nothing without --adopt.
    """
    vault = _vault(load_backup_service(config_path))
    if adopt:
        vault.adopt()
        vault.close()
    report = vault.verify(deep=not shallow)
    show("vault_report", _report_facts(report), _report_lines(report), as_json=as_json)
    return 0 if report.ok else VaultCorrupt.exit_status


@command.command()
@click.argument("backup_id", type=BACKUP_ID, required=False)
@click.option("--to", "target", type=FILE, required=True, help="A new file, mode 0600.")
@click.option("--i-understand", is_flag=True, help="You understand that the file holds key shares in the clear.")
@config_option
@json_option
def export(*, backup_id: BackupId | None, target: Path, i_understand: bool, config_path: Path, as_json: bool) -> None:
    """Write the key shares of a backup, decrypted, into a new file.

    Of the newest backup if BACKUP_ID is not given. The file has the form that `mpc-node import-keyshare` reads.
    Whoever reads it holds your key shares: keep it off shared disks, and destroy it after use.
    """
    if not i_understand:
        raise click.UsageError("this writes key shares in the clear; add --i-understand")
    if os.path.lexists(target):
        raise StoreFailed(f"{target} exists already; nothing is overwritten: name a new file")
    vault = _vault(load_backup_service(config_path))
    found = _chosen(vault.index(), backup_id)
    shares = encode_shares(vault.open_now(found.backup_id))
    content = {"epoch_id": found.keyset.epoch_id, "keyshares": shares}
    write_file(target, canonical_json(content) + b"\n", what="export")
    facts = {"backup_id": found.backup_id, "epoch_id": found.keyset.epoch_id, "domains": len(shares), "to": str(target)}
    show(
        "vault_export",
        facts,
        f"{len(shares)} key shares of epoch {found.keyset.epoch_id} are in {target}",
        as_json=as_json,
    )


@command.command()
@config_option
@json_option
def rekey(*, config_path: Path, as_json: bool) -> None:
    """Seal every backup to the recipients of the configuration: this service and `operator_recipient`.

    Run it after `operator_recipient` or the vault identity changed. Backups that are sealed so already stay as they are.
    """
    config = load_backup_service(config_path)
    vault = _vault(config)
    vault.acquire()
    try:
        done = vault.rekey(_recipients(config))
    finally:
        vault.close()
    facts = {"changed": bool(done), "backups": [one.backup_id for one in done], "recipients": _recipients(config)}
    show("vault_rekey", facts, f"{len(done)} backups sealed anew", as_json=as_json)


@command.command()
@click.option("--config", "config_path", type=FILE, help="The daemon's TOML file (soft launch).")
@click.option("--measured", type=FILE, help="The measured configuration of a backup service in hard launch.")
@click.option("--addresses", type=FILE, help="Its addresses, with --measured: whether it has a sibling.")
@click.option(
    "--sibling-confirmed", is_flag=True, help="The service itself reports that its sibling's copy is confirmed."
)
@json_option
def status(
    *,
    config_path: Path | None,
    measured: Path | None,
    addresses: Path | None,
    sibling_confirmed: bool,
    as_json: bool,
) -> None:
    """Show which mishaps the backup survives: a restart, a lost host, a changed CPU, image, size or compose file.

    Of the backup service of --config, or of the one in a TEE whose measured configuration is --measured. The reasons,
    and what to do before each, are in docs/runbooks/hard-launch-keys.md.
    """
    vault, sibling = _described(config_path, measured, addresses, confirmed=sibling_confirmed)
    found = decide_survival(vault, sibling)
    facts = {
        "vault": "soft_launch" if vault is None else vault.value,
        "sibling": sibling.value,
        "survives_all": all(each.survives for each in found),
        "mishaps": [
            {"mishap": each.mishap.value, "own_copy": each.own_copy, "survives": each.survives, "by": each.by}
            for each in found
        ],
    }
    show("vault_status", facts, _survival_lines(vault, sibling, found), as_json=as_json)


def _described(
    config_path: Path | None, measured: Path | None, addresses: Path | None, *, confirmed: bool
) -> tuple[VaultKind | None, SiblingCopy]:
    """Kind (None: soft launch) and sibling of the backup service that the options name. Raises `ConfigInvalid`."""
    if measured is not None and config_path is None:
        return _hard_launch_vault(measured, addresses, confirmed=confirmed)
    if config_path is None or measured is not None:
        raise click.UsageError("give --config or --measured, and not both")
    if addresses is not None or confirmed:
        raise click.UsageError("--addresses and --sibling-confirmed are for --measured")
    load_backup_service(config_path)
    return None, SiblingCopy.NONE


def _hard_launch_vault(measured: Path, addresses: Path | None, *, confirmed: bool) -> tuple[VaultKind, SiblingCopy]:
    """Kind and sibling. Raises `ConfigInvalid`, also for the configuration of a node."""
    from sharekeeper.hard_launch.config import load_backup_service_addresses, load_measured  # noqa: PLC0415

    config = load_measured(measured)
    if config.parameters.vault is None:
        raise ConfigInvalid(f"{measured} is the configuration of a node, which has no vault; name a backup service's")
    if addresses is None or load_backup_service_addresses(addresses, config).sibling is None:
        if confirmed:
            raise ConfigInvalid("no address of a sibling is named: give --addresses with one")
        return config.parameters.vault, SiblingCopy.NONE
    return config.parameters.vault, SiblingCopy.CONFIRMED if confirmed else SiblingCopy.UNCONFIRMED


_ANSWERS: Final = {True: "yes", False: "NO", None: "perhaps"}


def _survival_lines(vault: VaultKind | None, sibling: SiblingCopy, found: Sequence[Survival]) -> str:
    kind = "soft launch (sealed to the service and the operator)" if vault is None else vault.value
    rows = [
        f"{WORDS[each.mishap]:<32} {'kept' if each.own_copy else 'lost':<9} {_ANSWERS[each.survives]:<9} {each.by}"
        for each in found
    ]
    head = f"{'what happens':<32} {'own copy':<9} {'survives':<9} by"
    return "\n".join([f"vault: {kind}; sibling: {sibling.value}", head, *rows])


def _recipients(config: BackupServiceConfig) -> tuple[str, ...]:
    keys = load_backup_service_keys(config.keys_dir)
    return (recipient_of(keys.vault_identity), config.operator_recipient)


def _vault(config: BackupServiceConfig) -> OperatorVault:
    """The vault of a configuration; asks the chain for its genesis only if the configuration does not name it."""
    keys = load_backup_service_keys(config.keys_dir)
    return OperatorVault(
        config.vault_dir,
        state_dir=config.state_dir,
        network=_network(config.near),
        account_id=config.account_id,
        recipients=_recipients(config),
        identity=keys.vault_identity,
        signing_key=keys.vault_signing,
        clock=SystemClock(),
    )


def _network(near: NearConfig) -> NetworkId:
    if near.genesis_hash is None:
        return asyncio.run(_asked(near))
    return NetworkId(chain_id=near.chain_id, genesis_hash=near.genesis_hash, contract_id=near.contract_id)


async def _asked(near: NearConfig) -> NetworkId:
    async with connected(near) as (_, network):
        return network


def _chosen(backups: Sequence[StoredBackup], backup_id: BackupId | None) -> StoredBackup:
    wanted = [one for one in backups if backup_id in (None, one.backup_id)]
    if not wanted:
        raise NoBackup("the vault is empty" if backup_id is None else f"the vault has no authentic backup {backup_id}")
    return max(wanted, key=lambda one: (one.keyset.epoch_id, one.stored_at_ns))


def _facts(backup: StoredBackup) -> dict[str, Any]:
    return {
        "backup_id": backup.backup_id,
        "epoch_id": backup.keyset.epoch_id,
        "domains": len(backup.keyset.domains),
        "keyset_digest": backup.digest,
        "source_tls_key": str(backup.source_tls_key),
        "stored_at": utc(backup.stored_at_ns),
        "ciphertext_sha256": backup.ciphertext_sha256,
        "ciphertext_bytes": backup.ciphertext_bytes,
    }


def _report_facts(report: VaultReport) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "deep": report.deep,
        "at": utc(report.at_ns),
        "entries": [
            {
                "entry": finding.entry,
                "backup_id": None if finding.backup is None else finding.backup.backup_id,
                "problem": None if finding.problem is None else finding.problem.value,
                "detail": finding.detail,
            }
            for finding in report.findings
        ],
    }


def _report_lines(report: VaultReport) -> str:
    lines = [_finding_line(finding) for finding in report.findings]
    whole = len(report.findings) - len(report.problems)
    return "\n".join([*lines, f"{whole} of {len(report.findings)} entries are whole"])


def _finding_line(finding: Finding) -> str:
    return (
        f"{finding.entry}: ok" if finding.problem is None else f"{finding.entry}: {finding.problem}: {finding.detail}"
    )
