"""`sharekeeper operator`: what an operator signs himself, with his full-access key.

The access keys of his machines (spec: Todo #946; design decision 10), and his calls of the contract.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import AccessKey, NearRpc
from sharekeeper.adapters.transactions import Action, NearCaller, add_key, delete_key
from sharekeeper.cli.common import ACCOUNT_ID, FILE, SIGNER_KEY, URL, json_option, show
from sharekeeper.cli.near import connected, near_options
from sharekeeper.config import NearConfig
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, Role, SignerKey
from sharekeeper.domain.protocol_state import Recovery
from sharekeeper.errors import OperatorFault
from sharekeeper.keys import read_operator_key
from sharekeeper.spec import BACKUP_SERVICE_METHODS, NODE_METHODS

METHODS = {Role.NODE: NODE_METHODS, Role.BACKUP_SERVICE: BACKUP_SERVICE_METHODS}


@click.group()
def command() -> None:
    """Grant and revoke the machines' access keys, and call the contract yourself.

    The operator's full-access key comes from --key-file: a private key in one line, or the JSON file of near-cli.
    """


@command.command()
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="Whose key it is.")
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="The operator's account.")
@click.option("--public-key", type=SIGNER_KEY, required=True, help="The machine's account key (`keys show`).")
@click.option(
    "--key-file", type=FILE, required=True, help="The operator's full-access key, mode 0600; - for standard input."
)
@near_options
@json_option
def grant(
    *,
    role: str,
    account_id: AccountId,
    public_key: SignerKey,
    key_file: Path,
    near: NearConfig,
    config_path: object,
    as_json: bool,
) -> None:
    """Let a machine's key call its role's methods of the contract, and nothing else.

    A key that may do so already is left as it is.
    """
    del config_path
    methods = METHODS[Role(role)]
    changed = asyncio.run(_grant(near, account_id, read_operator_key(key_file), public_key, methods))
    facts = {
        "changed": changed,
        "account_id": account_id,
        "public_key": str(public_key),
        "role": role,
        "contract_id": near.contract_id,
        "methods": list(methods),
    }
    told = "granted" if changed else "granted before, nothing changed"
    show("grant", facts, f"{account_id}: {public_key} for {role} {told}", as_json=as_json)


@command.command()
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="The operator's account.")
@click.option("--public-key", type=SIGNER_KEY, required=True, help="The machine's account key.")
@click.option(
    "--key-file", type=FILE, required=True, help="The operator's full-access key, mode 0600; - for standard input."
)
@near_options
@json_option
def revoke(
    *,
    account_id: AccountId,
    public_key: SignerKey,
    key_file: Path,
    near: NearConfig,
    config_path: object,
    as_json: bool,
) -> None:
    """Delete a machine's access key from the account.

    Only keys restricted to the contract are deleted. A key that is not there is left so.
    """
    del config_path
    changed = asyncio.run(_revoke(near, account_id, read_operator_key(key_file), public_key))
    facts = {"changed": changed, "account_id": account_id, "public_key": str(public_key)}
    told = "revoked" if changed else "was not there, nothing changed"
    show("revoke", facts, f"{account_id}: {public_key} {told}", as_json=as_json)


@command.command()
@click.option("--recovery-id", type=click.IntRange(min=0), required=True, help="Which (`chain state` shows it).")
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="The operator's account.")
@click.option(
    "--key-file", type=FILE, required=True, help="The operator's full-access key, mode 0600; - for standard input."
)
@near_options
@json_option
def cancel_recovery(
    *,
    recovery_id: int,
    account_id: AccountId,
    key_file: Path,
    near: NearConfig,
    config_path: object,
    as_json: bool,
) -> None:
    """End a recovery: one's own at once, another account's by a vote.

    It retires the replacement's keys for ever. A recovery that is over already is left so.
    """
    del config_path
    changed, over = asyncio.run(_cancel_recovery(near, account_id, read_operator_key(key_file), recovery_id))
    facts = {"changed": changed, "account_id": account_id, "recovery_id": recovery_id, "over": over}
    told = ("cancelled" if over else "vote given, it still runs") if changed else "does not run, nothing changed"
    show("cancel_recovery", facts, f"recovery {recovery_id}: {told}", as_json=as_json)


@command.command()
@click.option("--for-account", type=ACCOUNT_ID, required=True, help="The account that waits.")
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="The operator's account.")
@click.option(
    "--key-file", type=FILE, required=True, help="The operator's full-access key, mode 0600; - for standard input."
)
@near_options
@json_option
def waive_cooldown(
    *,
    for_account: AccountId,
    account_id: AccountId,
    key_file: Path,
    near: NearConfig,
    config_path: object,
    as_json: bool,
) -> None:
    """Vote that an account need not wait any longer for its next recovery.

    An account that does not wait is left so.
    """
    del config_path
    changed, until = asyncio.run(_waive_cooldown(near, account_id, read_operator_key(key_file), for_account))
    facts = {"changed": changed, "account_id": account_id, "for_account": for_account, "cooldown_until": until}
    wait = f"it waits until block {until}" if until else "it may recover now"
    told = f"vote given, {wait}" if changed else f"{wait}, nothing changed"
    show("waive_cooldown", facts, f"{for_account}: {told}", as_json=as_json)


@command.command()
@click.option("--url", type=URL, required=True, help="The node's new participant url.")
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="The operator's account.")
@click.option(
    "--key-file", type=FILE, required=True, help="The operator's full-access key, mode 0600; - for standard input."
)
@near_options
@json_option
def update_url(
    *,
    url: str,
    account_id: AccountId,
    key_file: Path,
    near: NearConfig,
    config_path: object,
    as_json: bool,
) -> None:
    """Change the url of the account's node on the contract; its keys stay.

    A url that is there already is left as it is.
    """
    del config_path
    changed = asyncio.run(_update_url(near, account_id, read_operator_key(key_file), url))
    facts = {"changed": changed, "account_id": account_id, "url": url}
    told = "changed" if changed else "there before, nothing changed"
    show("update_url", facts, f"{account_id}: {url} {told}", as_json=as_json)


async def _grant(
    near: NearConfig, account_id: AccountId, operator: KeyPair, key: SignerKey, methods: Sequence[str]
) -> bool:
    def wanted(found: AccessKey | None) -> Action | None:
        if found is None:
            return add_key(key, contract_id=near.contract_id, methods=methods)
        if found.receiver_id == near.contract_id and set(found.methods) == set(methods):
            return None
        raise OperatorFault(
            f"{account_id} has {key} with other permissions already: make new keys for that machine, or revoke this one"
        )

    return await _change_key(near, account_id, operator, key, wanted)


async def _revoke(near: NearConfig, account_id: AccountId, operator: KeyPair, key: SignerKey) -> bool:
    def wanted(found: AccessKey | None) -> Action | None:
        if found is None:
            return None
        if found.receiver_id != near.contract_id:
            raise OperatorFault(
                f"{key} of {account_id} is not restricted to {near.contract_id}; it is no machine's key: not deleted"
            )
        return delete_key(key)

    return await _change_key(near, account_id, operator, key, wanted)


async def _change_key(
    near: NearConfig,
    account_id: AccountId,
    operator: KeyPair,
    key: SignerKey,
    wanted: Callable[[AccessKey | None], Action | None],
) -> bool:
    """The action that `wanted` makes of the key as it is now is final; False if it wants none."""
    async with connected(near) as (rpc, _):
        action = wanted(await rpc.access_key(account_id, key, await rpc.head()))
        if action is None:
            return False
        await _caller(near, rpc, account_id, operator).send_actions(account_id, [action])
        return True


async def _cancel_recovery(
    near: NearConfig, account_id: AccountId, operator: KeyPair, recovery_id: int
) -> tuple[bool, bool]:
    """Whether a call was needed, which is final, and whether the recovery is over."""
    async with connected(near) as (rpc, _):
        running = await _recovery_that_runs(rpc)
        if running is not None and running < recovery_id:
            raise OperatorFault(f"there was no recovery {recovery_id} yet, recovery {running} runs: name that one")
        if running != recovery_id:
            return False, True
        await _caller(near, rpc, account_id, operator).call("cancel_recovery", {"recovery_id": recovery_id})
        return True, await _recovery_that_runs(rpc) != recovery_id


async def _recovery_that_runs(rpc: NearRpc) -> int | None:
    state = await rpc.protocol_state(await rpc.head())
    return state.recovery_id if isinstance(state, Recovery) else None


async def _waive_cooldown(
    near: NearConfig, account_id: AccountId, operator: KeyPair, waiting: AccountId
) -> tuple[bool, int]:
    """Whether a call was needed, which is final, and the block that the account waits for (0: none)."""
    async with connected(near) as (rpc, _):
        if not await _cooldown(rpc, waiting):
            return False, 0
        await _caller(near, rpc, account_id, operator).call("waive_recovery_cooldown", {"account_id": waiting})
        return True, await _cooldown(rpc, waiting)


async def _cooldown(rpc: NearRpc, account_id: AccountId) -> int:
    head = await rpc.head()
    record = await rpc.account(account_id, head)
    if not record.is_participant:
        raise OperatorFault(f"{account_id} is not a participant of the contract: name the account that waits")
    return record.cooldown_until if record.cooldown_until > head.height else 0


async def _update_url(near: NearConfig, account_id: AccountId, operator: KeyPair, url: str) -> bool:
    """The url is on the contract, final; False if it was there."""
    async with connected(near) as (rpc, _):
        record = await rpc.account(account_id, await rpc.head())
        if not record.is_participant or record.node is None:
            raise OperatorFault(f"{account_id} is not a participant of the contract: it has no url to change")
        if record.node.info.url == url:
            return False
        await _caller(near, rpc, account_id, operator).call("update_participant_url", {"url": url})
        return True


def _caller(near: NearConfig, rpc: NearRpc, account_id: AccountId, operator: KeyPair) -> NearCaller:
    return NearCaller(rpc=rpc, account_id=account_id, key=operator, contract_id=near.contract_id, clock=SystemClock())
