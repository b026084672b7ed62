"""`sharekeeper backup-service`: run it, ask it, approve a hand-out before the recovery starts (design decision 8)."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sharekeeper.cli.common import (
    ACCOUNT_ID,
    BLOCK_HASH,
    DIGEST,
    DURATION,
    SIGNER_KEY,
    TLS_KEY,
    URL,
    config_option,
    json_option,
    show,
    table,
)
from sharekeeper.cli.daemon import status_lines, status_of
from sharekeeper.config import BackupServiceConfig, load_backup_service
from sharekeeper.domain.backup import Approval
from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import KeysetDigest
from sharekeeper.domain.protocol_state import Initializing, ParticipantInfo, ProtocolState, Recovery, running_part
from sharekeeper.errors import OperatorFault, PolicyRefused

_NS = 10**9


@click.group()
def command() -> None:
    """Run the backup service, ask it, approve a hand-out."""


@command.command()
@config_option
@json_option
def run(*, config_path: Path, as_json: bool) -> None:
    """Run the backup service until SIGTERM or Ctrl-C. With --json its log is JSON too."""
    from sharekeeper.app import run_backup_service  # noqa: PLC0415  # the other commands need none of it

    run_backup_service(config_path, json_logs=as_json)


@command.command()
@config_option
@json_option
def status(*, config_path: Path, as_json: bool) -> None:
    """Show what the running backup service says about itself."""
    found = status_of("backup service", load_backup_service(config_path).health_address)
    show("backup_service_status", found, status_lines(found), as_json=as_json)


@command.command()
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="The account whose node is replaced.")
@click.option("--tls-key", type=TLS_KEY, required=True, help="The replacement's TLS key.")
@click.option("--signer-key", type=SIGNER_KEY, required=True, help="The replacement's account key.")
@click.option("--url", type=URL, required=True, help="The replacement's participant url.")
@click.option("--valid-for", type=DURATION, required=True, help="How long the approval may be used, like 6h.")
@click.option("--keyset", type=DIGEST, help="Digest of the keyset; the one in force if not given.")
@config_option
@json_option
def approve(
    *,
    account_id: AccountId,
    tls_key: TlsKey,
    signer_key: SignerKey,
    url: str,
    valid_for: int,
    keyset: KeysetDigest | None,
    config_path: Path,
    as_json: bool,
) -> None:
    """Allow one hand-out of the key shares, to exactly this replacement.

    Run it on the backup machine before the replacement asks the contract for recovery; the approval is used once.
    Take the replacement's keys from the machine itself (`sharekeeper keys show` over SSH).
    """
    config = load_backup_service(config_path)
    if account_id != config.account_id:
        raise OperatorFault(f"this backup service is for {config.account_id}, not {account_id}")
    info = ParticipantInfo(url=url, tls_public_key=tls_key)
    changed, approval = asyncio.run(_approve(config, info, signer_key, keyset, valid_for))
    facts = _facts(approval)
    told = "approved, once:" if changed else "approved before and not used yet, nothing changed:"
    show("approval", {"changed": changed, **facts}, f"{told}\n{table(facts)}", as_json=as_json)


@command.command("override-quorum")
@click.option("--block-hash", type=BLOCK_HASH, required=True, help="The block at which you checked the recovery.")
@click.option("--recovery-id", type=int, required=True, help="Which recovery (`chain state` shows it).")
@click.option("--tls-key", type=TLS_KEY, required=True, help="The recovering node's TLS key.")
@click.option("--valid-for", type=DURATION, required=True, help="How long the override may be used, like 30m.")
@config_option
@json_option
def override_quorum(
    *, block_hash: str, recovery_id: int, tls_key: TlsKey, valid_for: int, config_path: Path, as_json: bool
) -> None:
    """Vouch for the own NEAR node in one hand-out, where no quorum of endpoints can be had.

    Run it on the backup machine, after you have looked at the recovery by other means. It stands for endpoints that
    are missing, never against a quorum that shows something else, and takes no approval's place.
    """
    from sharekeeper.cli.endpoints import add_override, override_facts  # noqa: PLC0415  # `status` needs none of it

    config = load_backup_service(config_path)
    changed, override = asyncio.run(add_override(config, block_hash, recovery_id, tls_key, valid_for))
    facts = override_facts(override)
    told = "the own NEAR node is believed, once:" if changed else "said before and not used yet, nothing changed:"
    show("quorum_override", {"changed": changed, **facts}, f"{told}\n{table(facts)}", as_json=as_json)


async def _approve(
    config: BackupServiceConfig, info: ParticipantInfo, signer_key: SignerKey, keyset: KeysetDigest | None, seconds: int
) -> tuple[bool, Approval]:
    """The approval is on record, dated by the chain's newest final block; True if it was made now.

    One for the same replacement and keyset that is neither used nor past its deadline is left as it is.

    Raises:
        PolicyRefused: the account recovers already, or the contract has no keyset in force.
        ChainStale, ChainUnavailable, WrongNetwork: the chain cannot be read as of now.
        StoreFailed: disk.
    """
    from sharekeeper.adapters.approvals import DirectoryApprovalStore  # noqa: PLC0415  # `status` needs none of it
    from sharekeeper.adapters.clock import SystemClock  # noqa: PLC0415
    from sharekeeper.app import APPROVALS_DIRECTORY  # noqa: PLC0415
    from sharekeeper.cli.near import connected  # noqa: PLC0415
    from sharekeeper.protocol.freshness import check_fresh  # noqa: PLC0415

    now_ns = SystemClock().wall_ns()
    async with connected(config.near) as (rpc, _):
        head = await rpc.head()
        check_fresh(head, now_ns)
        state = await rpc.protocol_state(head)
    approval = Approval(
        account_id=config.account_id,
        info=info,
        signer_key=signer_key,
        keyset=keyset or keyset_in_force(state),
        approved_at_height=head.height,
        deadline_ns=now_ns + seconds * _NS,
        used_for=None,
    )
    _refuse_if_recovering(state, config.account_id)
    store = DirectoryApprovalStore(config.state_dir / APPROVALS_DIRECTORY)
    for held in store.pending():
        same = replace(held, approved_at_height=approval.approved_at_height, deadline_ns=approval.deadline_ns)
        if same == approval and held.deadline_ns > now_ns:
            return False, held
    await store.add(approval)
    return True, approval


def keyset_in_force(state: ProtocolState) -> KeysetDigest:
    """The digest of the keyset a recovery would hand out. Raises `PolicyRefused` if there is none."""
    running = running_part(state)
    if running is None or not running.keyset.domains:
        raise PolicyRefused("the contract has no keyset in force: there is nothing to hand out yet")
    if isinstance(state, Initializing):
        raise PolicyRefused("the contract is adding domains to its keyset: approve once it is Running again")
    return running.keyset.digest()


def _refuse_if_recovering(state: ProtocolState, account_id: AccountId) -> None:
    from sharekeeper.protocol.policy import CURE  # noqa: PLC0415  # `status` needs none of it

    if isinstance(state, Recovery) and state.recovering.account_id == account_id:
        raise PolicyRefused(
            f"recovery {state.recovery_id} of {account_id} runs already, and an approval counts only if it was made"
            f" before: {CURE}"
        )


def _facts(approval: Approval) -> dict[str, Any]:
    from sharekeeper.ops.status import utc  # noqa: PLC0415  # `status` needs none of it

    return {
        "account_id": approval.account_id,
        "url": approval.info.url,
        "tls_public_key": str(approval.info.tls_public_key),
        "signer_public_key": str(approval.signer_key),
        "keyset_digest": approval.keyset,
        "approved_at_height": approval.approved_at_height,
        "deadline": utc(approval.deadline_ns),
    }
