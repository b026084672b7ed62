"""`sharekeeper chain account`: what the contract records about one account."""

import asyncio
from typing import Any

import click

from sharekeeper.cli.common import ACCOUNT_ID, json_option, show, table
from sharekeeper.cli.near import connected, near_options
from sharekeeper.config import NearConfig
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.protocol_state import BackupServiceKeys, NodeKeys


@click.command(name="account")
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="Whose.")
@near_options
@json_option
def command(*, account_id: AccountId, near: NearConfig, config_path: object, as_json: bool) -> None:
    """Show what the contract records about an account: its node, and its backup services by slot."""
    del config_path
    shown = asyncio.run(_account(near, account_id))
    show("chain_account", shown, table(_flat(shown)), as_json=as_json)


async def _account(near: NearConfig, account_id: AccountId) -> dict[str, Any]:
    async with connected(near) as (rpc, _):
        head = await rpc.head()
        record = await rpc.account(account_id, head)
    return {
        "account_id": record.account_id,
        "height": head.height,
        "is_participant": record.is_participant,
        "node": _keys(record.node),
        "node_candidate": _keys(record.node_candidate),
        "backup_services": [_keys(service) for service in record.backup_services],
        "cooldown_until": record.cooldown_until,
    }


def _keys(found: NodeKeys | BackupServiceKeys | None) -> dict[str, str] | None:
    match found:
        case None:
            return None
        case NodeKeys(info=info):
            shown = {"url": info.url, "tls_public_key": str(info.tls_public_key)}
        case BackupServiceKeys(tls_public_key=tls_public_key):
            shown = {"tls_public_key": str(tls_public_key)}
    return {**shown, "signer_public_key": str(found.signer_key)}


def _flat(shown: dict[str, Any]) -> dict[str, object]:
    """The same as lines, one for each key of each machine."""
    machines = {"node": shown["node"], "node candidate": shown["node_candidate"]}
    machines |= {f"backup service in slot {slot}": keys for slot, keys in enumerate(shown["backup_services"])}
    rows: dict[str, object] = {
        "account": shown["account_id"],
        "final block": shown["height"],
        "participant": "yes" if shown["is_participant"] else "no",
    }
    for machine, keys in machines.items():
        rows |= {machine: None} if keys is None else {f"{machine} {name}": value for name, value in keys.items()}
    return rows | {"cooldown until": shown["cooldown_until"] or None}
