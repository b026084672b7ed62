"""`sharekeeper contract`: put the MPC contract on its account, and see what runs there."""

import asyncio
from pathlib import Path
from typing import Any

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.transactions import NearCaller
from sharekeeper.cli.common import FILE, SHA256, json_option, show, table
from sharekeeper.cli.near import connected, near_options
from sharekeeper.config_values import NearConfig
from sharekeeper.deployment import Deployed, check_wasm, deploy, deployed
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import ConfigInvalid
from sharekeeper.keys import read_operator_key
from sharekeeper.protocol.codec import DecodeError, parse_json


@click.group()
def command() -> None:
    """Deploy the MPC contract and check which code its account runs."""


@command.command(name="deploy")
@click.option("--wasm", type=FILE, required=True, help="The contract (agent/contract/mpc_contract.wasm).")
@click.option("--sha256", type=SHA256, required=True, help="The digest that file must have.")
@click.option("--init", "init_file", type=FILE, required=True, help="JSON arguments of `init`.")
@click.option("--key-file", type=FILE, required=True, help="Full-access key of the contract's account, mode 0600.")
@near_options
@json_option
def deploy_command(
    *,
    wasm: Path,
    sha256: Sha256Hex,
    init_file: Path,
    key_file: Path,
    near: NearConfig,
    config_path: object,
    as_json: bool,
) -> None:
    """Deploy and initialise the contract, in one transaction.

    A contract that runs this code already is left as it is; one that runs other code is never replaced.
    """
    del config_path
    code, arguments = _read(wasm), _init_arguments(init_file)
    check_wasm(code, sha256)
    changed = asyncio.run(_deploy(near, key_file, code, arguments))
    facts = {"changed": changed, "contract_id": near.contract_id, "sha256": sha256}
    told = "deployed and initialised" if changed else "deployed before, nothing changed"
    show("contract_deploy", facts, f"{near.contract_id}: {told}", as_json=as_json)


@command.command(name="show")
@click.option("--sha256", type=SHA256, help="The digest its code must have; fails if it has another.")
@near_options
@json_option
def show_command(*, sha256: Sha256Hex | None, near: NearConfig, config_path: object, as_json: bool) -> None:
    """Which code the contract's account runs, and who could change that."""
    del config_path
    found = asyncio.run(_deployed(near, sha256))
    facts = {
        "contract_id": near.contract_id,
        "height": found.height,
        "sha256": found.code,
        "version": found.version,
        "state": found.state,
        "full_access_keys": list(found.full_access_keys),
    }
    rows = {**facts, "full_access_keys": ", ".join(found.full_access_keys) or "none"}
    show("contract", facts, table(rows), as_json=as_json)


async def _deploy(near: NearConfig, key_file: Path, code: bytes, arguments: dict[str, Any]) -> bool:
    key = read_operator_key(key_file)
    async with connected(near) as (rpc, _):
        caller = NearCaller(
            rpc=rpc, account_id=near.contract_id, key=key, contract_id=near.contract_id, clock=SystemClock()
        )
        return await deploy(rpc, caller, code, arguments)


async def _deployed(near: NearConfig, expected: Sha256Hex | None) -> Deployed:
    async with connected(near) as (rpc, _):
        return await deployed(rpc, expected=expected)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None


def _init_arguments(path: Path) -> dict[str, Any]:
    try:
        arguments = parse_json(_read(path))
    except DecodeError as error:
        raise ConfigInvalid(f"{path} is not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ConfigInvalid(f"{path} is not a JSON object; it holds the arguments of `init` (docs/contract.md)")
    return arguments
