"""`sharekeeper operator vote`: what participants decide together, each operator with a vote of his own."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.cli.common import FILE, SHA256, Command, json_option, show
from sharekeeper.cli.operator_account import OperatorAccount, operator_options
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.protocol_state import Initializing, ProtocolState, Resharing, running_part
from sharekeeper.errors import ConfigInvalid
from sharekeeper.protocol.codec import DecodeError, field, integer, parse_json

_ALLOWED_VIEWS: Final = {
    "vote_node_code_hash": "allowed_node_code_hashes",
    "vote_backup_service_code_hash": "allowed_backup_service_code_hashes",
    "vote_measurements": "allowed_measurements",
}


@click.group(name="vote")
def command() -> None:
    """Vote for what the participants decide by a threshold of votes."""


def withdraw_option(command: Command) -> Command:
    """Adds `--withdraw`."""
    return click.option("--withdraw", is_flag=True, help="Vote to withdraw it, with the grace time of the contract.")(
        command
    )


@command.command()
@operator_options
@json_option
def cancel_keygen(*, operator: OperatorAccount, as_json: bool) -> None:
    """Vote to end the key generation: the network runs on with the domains it has.

    When none is under way nothing is done.
    """
    asyncio.run(_cancel(operator, Initializing, "vote_cancel_keygen", _next_domain_id, as_json=as_json))


@command.command()
@operator_options
@json_option
def cancel_resharing(*, operator: OperatorAccount, as_json: bool) -> None:
    """Vote to end the resharing: the participants and thresholds stay what they were.

    When none is under way nothing is done.
    """
    asyncio.run(_cancel(operator, Resharing, "vote_cancel_resharing", lambda _: {}, as_json=as_json))


@command.command()
@click.argument("file", type=FILE)
@operator_options
@json_option
def new_parameters(*, file: Path, operator: OperatorAccount, as_json: bool) -> None:
    """Vote for another participant set or other thresholds.

    FILE has the JSON arguments of vote_new_parameters.
    """
    asyncio.run(_vote(operator, "vote_new_parameters", _json_object(file), as_json=as_json))


@command.command()
@click.argument("file", type=FILE)
@operator_options
@json_option
def add_domains(*, file: Path, operator: OperatorAccount, as_json: bool) -> None:
    """Vote for new domains, whose keys are then generated.

    FILE has the JSON arguments of vote_add_domains.
    """
    asyncio.run(_vote(operator, "vote_add_domains", _json_object(file), as_json=as_json))


@command.command()
@click.argument("code_hash", type=SHA256)
@withdraw_option
@operator_options
@json_option
def node_code_hash(*, code_hash: Sha256Hex, withdraw: bool, operator: OperatorAccount, as_json: bool) -> None:
    """Vote that MPC nodes may run the code with that hash."""
    value = {"code_hash": code_hash}
    asyncio.run(_vote_on_code(operator, "vote_node_code_hash", value, allow=not withdraw, as_json=as_json))


@command.command()
@click.argument("code_hash", type=SHA256)
@withdraw_option
@operator_options
@json_option
def backup_service_code_hash(*, code_hash: Sha256Hex, withdraw: bool, operator: OperatorAccount, as_json: bool) -> None:
    """Vote that backup services may run the code with that hash."""
    value = {"code_hash": code_hash}
    asyncio.run(_vote_on_code(operator, "vote_backup_service_code_hash", value, allow=not withdraw, as_json=as_json))


@command.command()
@click.argument("file", type=FILE)
@withdraw_option
@operator_options
@json_option
def measurements(*, file: Path, withdraw: bool, operator: OperatorAccount, as_json: bool) -> None:
    """Vote that code may run in a TEE that measures this.

    FILE has the JSON object of the measurements.
    """
    value = {"measurements": _json_object(file)}
    asyncio.run(_vote_on_code(operator, "vote_measurements", value, allow=not withdraw, as_json=as_json))


async def _cancel(
    operator: OperatorAccount,
    ends: type[Initializing | Resharing],
    method: str,
    arguments: Callable[[object], dict[str, Any]],
    *,
    as_json: bool,
) -> None:
    """`arguments` makes those of the call from view `state`."""
    async with operator.connected() as (rpc, caller):
        head = await rpc.head()
        under_way = isinstance(await rpc.protocol_state(head), ends)
        given = arguments(await rpc.view("state", {}, head)) if under_way else {}
        if under_way:
            await caller.call(method, given)
        after = await rpc.protocol_state(await rpc.head())
    _tell(operator, method, given, after, changed=under_way, decided=not isinstance(after, ends), as_json=as_json)


async def _vote(operator: OperatorAccount, method: str, arguments: Mapping[str, Any], *, as_json: bool) -> None:
    async with operator.connected() as (rpc, caller):
        before = await rpc.protocol_state(await rpc.head())
        await caller.call(method, arguments)
        after = await rpc.protocol_state(await rpc.head())
    decided = _decided(before) != _decided(after)
    _tell(operator, method, arguments, after, changed=True, decided=decided, as_json=as_json)


async def _vote_on_code(
    operator: OperatorAccount, method: str, value: Mapping[str, Any], *, allow: bool, as_json: bool
) -> None:
    """What is so already is left so."""
    arguments = {**value, "allow": allow}
    async with operator.connected() as (rpc, caller):
        changed = await _lasts(rpc, method, value) is not allow
        if changed:
            await caller.call(method, arguments)
        decided = await _lasts(rpc, method, value) is allow
        after = await rpc.protocol_state(await rpc.head())
    _tell(operator, method, arguments, after, changed=changed, decided=decided, as_json=as_json)


async def _lasts(rpc: NearRpc, method: str, value: Mapping[str, Any]) -> bool:
    """The value is allowed, and was not withdrawn."""
    entries = await rpc.view(_ALLOWED_VIEWS[method], {}, await rpc.head())
    return {**value, "allowed_until": None} in entries


def _decided(state: ProtocolState) -> object:
    """What a vote for domains or parameters changes once it is decided."""
    running = running_part(state)
    return type(state), running and (running.participants, running.threshold, running.keyset.epoch_id)


def _next_domain_id(state: object) -> dict[str, Any]:
    return {"next_domain_id": integer(field(field(state, "Initializing"), "domains"), "next_domain_id")}


def _json_object(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes())
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None
    except DecodeError as error:
        raise ConfigInvalid(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigInvalid(f"{path} is not a JSON object; docs/contract.md has its form")
    return found


def _tell(
    operator: OperatorAccount,
    method: str,
    arguments: Mapping[str, Any],
    after: ProtocolState,
    *,
    changed: bool,
    decided: bool,
    as_json: bool,
) -> None:
    facts = {
        "changed": changed,
        "decided": decided,
        "account_id": operator.account_id,
        "method": method,
        "arguments": dict(arguments),
        "state": type(after).__name__,
    }
    told = ("vote given, and decided" if decided else "vote given") if changed else "nothing to decide, nothing changed"
    show("vote", facts, f"{method}: {told}; the state is {facts['state']}", as_json=as_json)
