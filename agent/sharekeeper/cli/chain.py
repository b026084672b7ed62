"""`sharekeeper chain`: what the contract says."""

import asyncio
from pathlib import Path
from typing import Any

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import ALLOWED_CODE_VIEWS
from sharekeeper.cli.common import ACCOUNT_ID, config_option, json_option, show, table
from sharekeeper.cli.near import connected, near_options
from sharekeeper.config import load_backup_service
from sharekeeper.config_values import NearConfig
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.protocol_state import (
    AccountRecord,
    BlockRef,
    NodeKeys,
    ProtocolState,
    Recovery,
    Running,
    running_part,
)
from sharekeeper.ops.state_words import describe_state, key_event_facts
from sharekeeper.ops.status import utc

_NS = 10**9
_NO_DATE_SECONDS = 250_000_000_000


@click.group()
def command() -> None:
    """What the contract says."""


@command.command()
@near_options
@json_option
def state(*, near: NearConfig, config_path: object, as_json: bool) -> None:
    """Show the protocol state at the newest final block."""
    del config_path
    network, head, found = asyncio.run(_read(near))
    shown = facts(network, head, found)
    show("chain_state", shown, lines(shown), as_json=as_json)


@command.command()
@click.option("--account-id", type=ACCOUNT_ID, required=True, help="Whose machines.")
@near_options
@json_option
def account(*, account_id: AccountId, near: NearConfig, config_path: object, as_json: bool) -> None:
    """Show which machines the contract has for an account: those in force, and a node that is announced."""
    del config_path
    shown = account_facts(*asyncio.run(_read_account(near, account_id)))
    show("chain_account", shown, account_lines(shown), as_json=as_json)


@command.command()
@near_options
@json_option
def code(*, near: NearConfig, config_path: object, as_json: bool) -> None:
    """Show which code the participants allow machines to run, and what the TEE around it may measure."""
    del config_path
    shown = asyncio.run(_read_code(near))
    show("chain_code", shown, code_lines(shown), as_json=as_json)


@command.command()
@config_option
@json_option
def quorum(*, config_path: Path, as_json: bool) -> int:
    """Ask every NEAR endpoint of a backup service what it shows, and say whether shares could be released now."""
    from sharekeeper.cli.endpoints import quorum_facts, quorum_lines, survey  # noqa: PLC0415  # `state` needs none
    from sharekeeper.errors import NoQuorum  # noqa: PLC0415

    found = asyncio.run(survey(load_backup_service(config_path)))
    facts = quorum_facts(found, SystemClock().wall_ns())
    show("chain_quorum", facts, quorum_lines(facts), as_json=as_json)
    return 0 if found.agreed is not None else NoQuorum.exit_status


async def _read(near: NearConfig) -> tuple[NetworkId, BlockRef, ProtocolState]:
    async with connected(near) as (rpc, network):
        head = await rpc.head()
        return network, head, await rpc.protocol_state(head)


async def _read_account(near: NearConfig, account_id: AccountId) -> tuple[BlockRef, AccountRecord]:
    async with connected(near) as (rpc, _):
        head = await rpc.head()
        return head, await rpc.account(account_id, head)


async def _read_code(near: NearConfig) -> dict[str, Any]:
    """What is printed of allowed code as JSON. Raises `ChainAnswerInvalid` if a view is none of docs/contract.md."""
    async with connected(near) as (rpc, _):
        head = await rpc.head()
        await rpc.allowed_code(head)
        shown = [await rpc.view(name, {}, head) for name in ALLOWED_CODE_VIEWS]
    node, backup_service, measurements = ([dict(entry) for entry in entries] for entries in shown)
    return {
        "height": head.height,
        "node": node,
        "backup_service": backup_service,
        "measurements": measurements,
    }


def code_lines(shown: dict[str, Any]) -> str:
    """The same for people."""
    rows: dict[str, object] = {"final block": shown["height"]}
    for kind in ("node", "backup_service"):
        listed = [f"{entry['code_hash']}{_until(entry)}" for entry in shown[kind]]
        rows |= {f"{kind.replace('_', ' ')} code {number}": one for number, one in enumerate(listed, 1)}
        rows |= {} if listed else {f"{kind.replace('_', ' ')} code": "none is allowed"}
    for number, entry in enumerate(shown["measurements"], 1):
        rows |= {f"measurements {number} {name}": value for name, value in entry["measurements"].items()}
        rows |= {f"measurements {number}": f"allowed{_until(entry)}"}
    return table(rows if shown["measurements"] else rows | {"measurements": "none are allowed"})


def _until(entry: dict[str, Any]) -> str:
    """A withdrawn value ends with its grace time."""
    return "" if entry["allowed_until"] is None else f" until block {entry['allowed_until']}"


def account_facts(head: BlockRef, record: AccountRecord) -> dict[str, Any]:
    """What is printed of an account as JSON."""
    return {
        "account_id": record.account_id,
        "height": head.height,
        "is_participant": record.is_participant,
        "node": _node(record, record.node),
        "node_candidate": _node(record, record.node_candidate),
        "backup_services": [
            {
                "slot": slot,
                "tls_public_key": str(service.tls_public_key),
                "signer_public_key": str(service.signer_key),
                "evidence": _evidence(record, service.tls_public_key),
            }
            for slot, service in enumerate(record.backup_services)
            if service is not None
        ],
        "cooldown_until": record.cooldown_until,
    }


def _node(record: AccountRecord, keys: NodeKeys | None) -> dict[str, Any] | None:
    if keys is None:
        return None
    return {
        "url": keys.info.url,
        "tls_public_key": str(keys.info.tls_public_key),
        "signer_public_key": str(keys.signer_key),
        "evidence": _evidence(record, keys.info.tls_public_key),
    }


def _evidence(record: AccountRecord, tls_key: TlsKey) -> dict[str, Any] | None:
    """Times in seconds since 1970, UTC."""
    found = next((one for one in record.evidence if one.tls_public_key == tls_key), None)
    if found is None:
        return None
    return {
        "digest": found.stamp.digest,
        "attested_at": found.stamp.attested_at,
        "valid_until": found.valid_until,
    }


def account_lines(shown: dict[str, Any]) -> str:
    """The same for people."""
    rows: dict[str, object] = {
        "account": shown["account_id"],
        "final block": shown["height"],
        "participant": "yes" if shown["is_participant"] else "no",
        "may recover again at block": shown["cooldown_until"],
    }
    machines = {"node": shown["node"], "announced node": shown["node_candidate"]}
    machines |= {f"backup service in slot {one['slot']}": one for one in shown["backup_services"]}
    for name, machine in machines.items():
        words: dict[str, Any] = {"": "none"} if machine is None else machine
        rows |= {
            f"{name} {key.replace('_public_', ' ')}".strip(): _evidence_words(value) if key == "evidence" else value
            for key, value in words.items()
            if key != "slot"
        }
    return table(rows)


def _evidence_words(shown: dict[str, Any] | None) -> str:
    if shown is None:
        return "none that is valid"
    return f"{shown['digest']} of {_time(shown['attested_at'])}, valid until {_time(shown['valid_until'])}"


def _time(seconds: int) -> str:
    """In UTC, if there is such a date."""
    return f"{utc(seconds * _NS)}" if seconds < _NO_DATE_SECONDS else f"second {seconds}"


def facts(network: NetworkId, head: BlockRef, found: ProtocolState) -> dict[str, Any]:
    """What is printed of a state as JSON."""
    age_seconds = round((SystemClock().wall_ns() - head.timestamp_ns) / _NS, 3)
    return {
        "network": {
            "chain_id": network.chain_id,
            "genesis_hash": network.genesis_hash,
            "contract_id": network.contract_id,
        },
        "block": {"height": head.height, "hash": head.hash, "age_seconds": age_seconds},
        "state": type(found).__name__,
        "description": describe_state(found),
        "running": _running(running_part(found)),
        "recovery": _recovery(found) if isinstance(found, Recovery) else None,
        "key_event": key_event_facts(found),
    }


def _running(found: Running | None) -> dict[str, Any] | None:
    if found is None:
        return None
    protocols = {domain.domain_id: domain.protocol for domain in found.domains}
    return {
        "epoch_id": found.keyset.epoch_id,
        "keyset_digest": found.keyset.digest(),
        "domains": [
            {
                "domain_id": domain.domain_id,
                "attempt": domain.attempt,
                "public_key": str(domain.public_key),
                "protocol": protocols.get(domain.domain_id),
            }
            for domain in found.keyset.domains
        ],
        "threshold": found.threshold,
        "participants": [
            {
                "account_id": member.account_id,
                "participant_id": member.participant_id,
                "url": member.info.url,
                "tls_public_key": str(member.info.tls_public_key),
            }
            for member in found.participants.members
        ],
    }


def _recovery(found: Recovery) -> dict[str, Any]:
    return {
        "recovery_id": found.recovery_id,
        "account_id": found.recovering.account_id,
        "url": found.recovering.info.url,
        "tls_public_key": str(found.recovering.info.tls_public_key),
        "signer_public_key": str(found.recovering.signer_key),
        "started_in": found.started_in,
        "expires_on": found.expires_on,
        "shares_confirmed": found.shares_confirmed,
    }


def lines(shown: dict[str, Any]) -> str:
    """The same for people."""
    block, running, recovery, event = shown["block"], shown["running"], shown["recovery"], shown["key_event"]
    rows: dict[str, object] = {
        "state": shown["state"],
        "contract": f"{shown['network']['contract_id']} on {shown['network']['chain_id']}",
        "final block": f"{block['height']} ({block['age_seconds']:.1f} s old)",
    }
    if running is not None:
        rows |= {
            "epoch": running["epoch_id"],
            "keyset": running["keyset_digest"],
            "domains": len(running["domains"]),
            "threshold": f"{running['threshold']} of {len(running['participants'])}",
        }
        rows |= {f"participant {one['account_id']}": one["tls_public_key"] for one in running["participants"]}
    if recovery is not None:
        rows |= {f"recovery {name}": value for name, value in recovery.items()}
    if event is not None:
        rows |= {"in words": shown["description"]}
        rows |= {f"key event {name}": _words(value) for name, value in event.items()}
    return table(rows)


def _words(value: object) -> object:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else value
