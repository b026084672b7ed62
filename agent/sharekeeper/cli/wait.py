"""`sharekeeper wait`: returns when the contract, or the vault, says what is expected."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.vault_manifest import VaultOwner
from sharekeeper.adapters.vault_reader import VaultReader
from sharekeeper.cli.common import ACCOUNT_ID, DURATION, TLS_KEY, json_option, progress, show
from sharekeeper.cli.near import is_node_agent, near_options, near_rpc
from sharekeeper.config import BackupServiceConfig, load_backup_service, load_node_agent
from sharekeeper.config_values import NearConfig
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import BackupId
from sharekeeper.domain.protocol_state import AccountRecord, BlockRef, ProtocolState, Recovery, Running, running_part
from sharekeeper.errors import ChainFault, WaitTimedOut
from sharekeeper.keys import load_backup_service_keys, public_keys
from sharekeeper.ops.state_words import describe_state
from sharekeeper.spec import RPC_TIMEOUT_SECONDS

_POLL_SECONDS = 0.5


class Condition(StrEnum):
    """What can be waited for."""

    REGISTERED = "registered"
    BACKED_UP = "backed-up"
    RUNNING = "running"
    RECOVERY = "recovery"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look: the chain at one final block, and the backups held then."""

    network: NetworkId
    block: BlockRef
    state: ProtocolState
    record: AccountRecord | None
    held: tuple[BackupId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The condition with what it is about. `vault` gives the backups held; only `backed-up` has it."""

    condition: Condition
    account_id: AccountId | None
    tls_key: TlsKey | None
    vault: Callable[[NetworkId], tuple[BackupId, ...]] | None


def holds(wanted: Wanted, seen: Seen) -> bool:
    """Whether the condition is true.

    registered: a backup service of the account is in force, that with the TLS key if one is named; its node is in
    force or announced.
    backed-up: the vault holds the keyset in force; one without domains has nothing to hold.
    running: the state is Running. recovery: it is Recovery, of that account if one is named.
    recovered: it is Running, and the account's participant has the new TLS key.
    """
    match wanted.condition:
        case Condition.REGISTERED:
            return _registered(seen.record, wanted.tls_key)
        case Condition.BACKED_UP:
            return _backed_up(wanted, seen)
        case Condition.RUNNING:
            return isinstance(seen.state, Running)
        case Condition.RECOVERY:
            return isinstance(seen.state, Recovery) and wanted.account_id in (None, seen.state.recovering.account_id)
        case Condition.RECOVERED:
            return isinstance(seen.state, Running) and _in_force(seen.state, wanted)


def _registered(record: AccountRecord | None, tls_key: TlsKey | None) -> bool:
    if record is None or (record.node is None and record.node_candidate is None):
        return False
    services = record.backup_service_tls_keys
    return bool(services) if tls_key is None else tls_key in services


def _backed_up(wanted: Wanted, seen: Seen) -> bool:
    running = running_part(seen.state)
    if running is None or wanted.account_id is None:
        return False
    if not running.keyset.domains:
        return True
    return running.keyset.backup_id(seen.network, wanted.account_id) in seen.held


def _in_force(state: Running, wanted: Wanted) -> bool:
    member = None if wanted.account_id is None else state.participants.find(wanted.account_id)
    return member is not None and member.info.tls_public_key == wanted.tls_key


@click.command()
@click.option("--until", type=click.Choice([one.value for one in Condition]), required=True, help="What to wait for.")
@click.option("--account-id", type=ACCOUNT_ID, help="Whose; with --config, the account of that file.")
@click.option(
    "--tls-key",
    type=TLS_KEY,
    help="For registered: the backup service's. For recovered: the new one. With --config: its own.",
)
@click.option("--timeout", type=DURATION, default="5m", show_default=True, help="Give up after that long.")
@near_options
@json_option
def command(
    *,
    until: str,
    account_id: AccountId | None,
    tls_key: TlsKey | None,
    timeout: int,
    near: NearConfig,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Wait until the contract, or the vault, says what is expected.

    \b
    registered  backup service (--tls-key, or any) in force, node in force or announced (--account-id)
    backed-up   the vault of --config holds the keyset in force
    running     the protocol state is Running
    recovery    it is Recovery, of --account-id if given
    recovered   it is Running again and --account-id has --tls-key
    """  # noqa: D301  # click's mark for lines to leave alone
    wanted = _wanted(Condition(until), account_id, tls_key, config_path)
    seen = asyncio.run(_wait(near, wanted, timeout))
    facts = {"until": until, "height": seen.block.height, "state": type(seen.state).__name__}
    show("wait", facts, f"{until}: true at block {seen.block.height}", as_json=as_json)


def _wanted(
    condition: Condition, account_id: AccountId | None, tls_key: TlsKey | None, config_path: Path | None
) -> Wanted:
    """The condition, completed from the configuration. Raises `UsageError` when something it needs is not given."""
    vault = None
    if config_path is not None and is_node_agent(config_path):
        agent = load_node_agent(config_path)
        account_id = account_id or agent.account_id
        if condition is Condition.RECOVERED and tls_key is None:
            tls_key = public_keys(agent.keys_dir).tls_public_key
    elif config_path is not None:
        service = load_backup_service(config_path)
        account_id = account_id or service.account_id
        vault = _vault(service) if condition is Condition.BACKED_UP else None
        if condition is Condition.REGISTERED and tls_key is None:
            tls_key = public_keys(service.keys_dir).tls_public_key
    if condition is Condition.BACKED_UP and vault is None:
        raise click.UsageError("backed-up looks into the vault: give --config of the backup service")
    if condition in (Condition.REGISTERED, Condition.RECOVERED) and account_id is None:
        raise click.UsageError(f"{condition} is about one account: give --account-id")
    if condition is Condition.RECOVERED and tls_key is None:
        raise click.UsageError("recovered is about one machine: give --tls-key, or --config of the node agent")
    return Wanted(condition=condition, account_id=account_id, tls_key=tls_key, vault=vault)


async def _wait(near: NearConfig, wanted: Wanted, timeout_seconds: int) -> Seen:
    """The first look at which the condition holds. Faults of the chain that may pass are told and waited out."""
    clock = SystemClock()
    deadline = clock.monotonic() + timeout_seconds
    last = ""
    async with near_rpc(near, clock, timeout_seconds=min(RPC_TIMEOUT_SECONDS, timeout_seconds)) as rpc:
        network: NetworkId | None = None
        while True:
            try:
                network = network or await rpc.network()
                seen = await _look(rpc, network, wanted)
                if holds(wanted, seen):
                    return seen
                now = describe_state(seen.state)
            except ChainFault as error:
                if not error.retryable:
                    raise
                now = str(error)
            if now != last:
                progress(f"waiting until {wanted.condition}: {now}")
            last = now
            if clock.monotonic() + _POLL_SECONDS >= deadline:
                raise WaitTimedOut(f"not {wanted.condition} within {timeout_seconds} s; last seen: {last}")
            await clock.sleep(_POLL_SECONDS)


async def _look(rpc: NearRpc, network: NetworkId, wanted: Wanted) -> Seen:
    block = await rpc.head()
    state = await rpc.protocol_state(block)
    record = None
    if wanted.condition is Condition.REGISTERED and wanted.account_id is not None:
        record = await rpc.account(wanted.account_id, block)
    held = () if wanted.vault is None else wanted.vault(network)
    return Seen(network=network, block=block, state=state, record=record, held=held)


def _vault(config: BackupServiceConfig) -> Callable[[NetworkId], tuple[BackupId, ...]]:
    """What the vault holds, read anew at each call; the network decides whose vault it must be."""
    keys = load_backup_service_keys(config.keys_dir)

    def held(network: NetworkId) -> tuple[BackupId, ...]:
        reader = VaultReader(
            config.vault_dir,
            state_dir=config.state_dir,
            owner=VaultOwner(network=network, account_id=config.account_id),
            identity=keys.vault_identity,
            signing_public_key=keys.vault_signing.public_raw,
        )
        return tuple(backup.backup_id for backup in reader.index())

    return held
