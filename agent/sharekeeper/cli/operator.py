"""`sharekeeper operator`: grant and revoke the access keys of the machines (spec: Todo #946; design decision 10)."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import AccessKey
from sharekeeper.adapters.transactions import Action, NearCaller, add_key, delete_key
from sharekeeper.cli.common import ACCOUNT_ID, FILE, SIGNER_KEY, json_option, show
from sharekeeper.cli.near import connected, near_options
from sharekeeper.config import NearConfig
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, Role, SignerKey
from sharekeeper.errors import OperatorFault
from sharekeeper.keys import read_operator_key
from sharekeeper.spec import BACKUP_SERVICE_METHODS, NODE_METHODS

METHODS = {Role.NODE: NODE_METHODS, Role.BACKUP_SERVICE: BACKUP_SERVICE_METHODS}


@click.group()
def command() -> None:
    """Grant and revoke the access keys of the machines.

    The operator's full-access key comes from --key-file: a private key in one line, or the JSON file of near-cli.
    """


@command.command()
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="Whose key it is.")
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="The operator's account.")
@click.option("--public-key", type=SIGNER_KEY, required=True, help="The machine's account key (`keys show`).")
@click.option("--key-file", type=FILE, required=True, help="The operator's full-access key, mode 0600.")
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
@click.option("--key-file", type=FILE, required=True, help="The operator's full-access key, mode 0600.")
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
        caller = NearCaller(
            rpc=rpc, account_id=account_id, key=operator, contract_id=near.contract_id, clock=SystemClock()
        )
        await caller.send_actions(account_id, [action])
        return True
