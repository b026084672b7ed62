"""`devnet`: deal, deploy, propose and ask for signatures in a rehearsal; never for a public network.

With `--json` each command prints one line `{"schema": 1, "type": ..., ...}`, errors too. Exit status 0, or the
status of the error (docs/cli.md); `devnet sign` ends with 4 when nobody answered in time. Private keys are read
from files only.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.durable_file import write_file
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.transactions import NearCaller
from sharekeeper.cli.attestation_input import fetch_shown
from sharekeeper.cli.common import ACCOUNT_ID, DIRECTORY, FILE, json_option, show, table
from sharekeeper.cli.outcome import run
from sharekeeper.deployment import deploy as deploy_contract
from sharekeeper.domain.identity import AccountId, Role
from sharekeeper.errors import ConfigInvalid
from sharekeeper.keys import read_operator_key
from sharekeeper.protocol.codec import DecodeError, parse_json
from sharekeeper_devnet.network import admin
from sharekeeper_devnet.network.dealing import DealPlan, deal_into_directories, read_members
from sharekeeper_devnet.network.key_file import ensure_key_file
from sharekeeper_devnet.network.proposing import PURPOSES, add_domains_arguments, new_parameters_arguments
from sharekeeper_devnet.tee.code import code_digests
from sharekeeper_devnet.tee.guest import GUEST_IMAGE, GuestShape
from sharekeeper_devnet.tee.judge import judge, read_root
from sharekeeper_devnet.tee.rack import Rack, load_rack

_YOCTO_PER_NEAR: Final = 10**24

rpc_option = click.option("--rpc", "rpc_url", required=True, help="URL of a NEAR endpoint of the rehearsal chain.")


@click.group()
def root() -> None:
    """Rehearsal networks: accounts, key shares, contract, signatures."""


@root.command()
@click.option(
    "--account", "account_ids", multiple=True, required=True, type=ACCOUNT_ID, help="Account id; repeat for more."
)
@click.option("--keys-dir", required=True, type=DIRECTORY, help="Operator keys: DIR/<account id>, 0600.")
@click.option("--balance", default=1000, show_default=True, type=click.IntRange(min=1), help="NEAR per account.")
@click.option("--out", required=True, type=FILE, help="Accounts file for `devnet-neard init --accounts`.")
@json_option
def accounts(*, account_ids: tuple[AccountId, ...], keys_dir: Path, balance: int, out: Path, as_json: bool) -> None:
    """Make an operator key per account, where there is none, and the accounts file with the public keys."""

    async def work() -> dict[str, Any]:
        return _accounts(account_ids, keys_dir, balance, out)

    _run(as_json, work)


@root.command()
@click.option("--threshold", required=True, type=click.IntRange(min=1), help="Participants needed to sign.")
@click.option(
    "--participants",
    "members",
    required=True,
    type=FILE,
    help="JSON list of {account_id, url, tls_public_key, signer_account_pk, keyshares_dir}.",
)
@click.option("--epoch", required=True, type=click.IntRange(min=0), help="Epoch of the keyset.")
@click.option(
    "--domains",
    default=3,
    show_default=True,
    type=click.IntRange(min=0),
    help="Number of domains; 0: nothing is dealt, the network generates its keys itself.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=N", help="Contract config, e.g. recovery_timeout_blocks=50."
)
@click.option("--out", required=True, type=FILE, help="Init file for `devnet deploy`.")
@json_option
def deal(
    *, threshold: int, members: Path, epoch: int, domains: int, settings: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Deal key shares into the participants' directories (a trusted dealer: rehearsal only)."""

    async def work() -> dict[str, Any]:
        plan = DealPlan(
            epoch_id=epoch,
            domains=domains,
            threshold=threshold,
            members=read_members(members),
            contract_config=dict(_setting(item) for item in settings),
        )
        dealt = await deal_into_directories(plan, out, secrets.randbelow)
        return {"type": "deal", "changed": dealt.changed, "keyset_digest": dealt.keyset.digest()}

    _run(as_json, work)


@root.command()
@rpc_option
@click.option("--wasm", required=True, type=FILE, help="The contract.")
@click.option("--init", "init_file", required=True, type=FILE, help="Init file of `devnet deal`.")
@click.option("--key-file", required=True, type=FILE, help="Full-access key of the contract account.")
@click.option("--contract-id", required=True, type=ACCOUNT_ID, help="The contract account.")
@json_option
def deploy(*, rpc_url: str, wasm: Path, init_file: Path, key_file: Path, contract_id: AccountId, as_json: bool) -> None:
    """Deploy and initialise the contract; a repeat changes nothing."""

    async def work() -> dict[str, Any]:
        code, arguments = _bytes(wasm), _json(init_file)
        async with _connected(rpc_url, contract_id, contract_id, key_file) as (rpc, caller):
            changed = await deploy_contract(rpc, caller, code, arguments)
        return {"type": "deploy", "changed": changed, "contract_id": contract_id}

    _run(as_json, work)


@root.command()
@rpc_option
@click.option("--contract", "contract_id", required=True, type=ACCOUNT_ID, help="The contract account.")
@click.option("--account", "account_id", required=True, type=ACCOUNT_ID, help="The account that asks.")
@click.option("--key-file", required=True, type=FILE, help="Access key of that account.")
@click.option("--message", required=True, help="Text to sign, up to 1024 bytes.")
@click.option("--timeout-blocks", default=100, show_default=True, type=click.IntRange(min=1), help="Patience.")
@json_option
def sign(
    *,
    rpc_url: str,
    contract_id: AccountId,
    account_id: AccountId,
    key_file: Path,
    message: str,
    timeout_blocks: int,
    as_json: bool,
) -> None:
    """Ask the network for a signature, wait for it, verify it. Exit status 4: nobody answered in time."""

    async def work() -> dict[str, Any]:
        async with _connected(rpc_url, contract_id, account_id, key_file) as (rpc, caller):
            made = await admin.sign(rpc, caller, SystemClock(), message.encode(), timeout_blocks)
        return {
            "type": "signature",
            "signature": made.signature.hex(),
            "public_key": made.public_key,
            "request_id": made.request_id,
            "seconds": round(made.seconds, 3),
        }

    _run(as_json, work)


@root.command("propose-domains")
@rpc_option
@click.option("--contract", "contract_id", required=True, type=ACCOUNT_ID, help="The contract account.")
@click.option(
    "--protocol", "protocols", multiple=True, required=True, type=click.Choice(list(PURPOSES)), help="Repeat for more."
)
@click.option("--threshold", required=True, type=click.IntRange(min=1), help="Shares needed to use each key.")
@click.option("--out", required=True, type=FILE, help="File for `sharekeeper operator vote add-domains`.")
@json_option
def propose_domains(
    *, rpc_url: str, contract_id: AccountId, protocols: tuple[str, ...], threshold: int, out: Path, as_json: bool
) -> None:
    """Write down new domains, whose keys the network generates once a threshold of operators votes for them."""

    async def work() -> dict[str, Any]:
        async with _endpoint(rpc_url, contract_id) as rpc:
            arguments = await add_domains_arguments(rpc, protocols, threshold)
        return _proposal("domains_proposal", arguments, out)

    _run(as_json, work)


@root.command("propose-parameters")
@rpc_option
@click.option("--contract", "contract_id", required=True, type=ACCOUNT_ID, help="The contract account.")
@click.option(
    "--member", "members", multiple=True, required=True, type=ACCOUNT_ID, help="Account of the new set; repeat."
)
@click.option("--threshold", required=True, type=click.IntRange(min=1), help="Votes that decide in the new set.")
@click.option(
    "--domain-threshold", "settings", multiple=True, metavar="ID=N", help="New threshold of a domain; repeat."
)
@click.option("--out", required=True, type=FILE, help="File for `sharekeeper operator vote new-parameters`.")
@json_option
def propose_parameters(
    *,
    rpc_url: str,
    contract_id: AccountId,
    members: tuple[AccountId, ...],
    threshold: int,
    settings: tuple[str, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Write down another participant set or threshold, to which the keys pass once a threshold of operators votes."""

    async def work() -> dict[str, Any]:
        thresholds = dict(_domain_threshold(item) for item in settings)
        async with _endpoint(rpc_url, contract_id) as rpc:
            arguments = await new_parameters_arguments(rpc, members, threshold, thresholds)
        return _proposal("parameters_proposal", arguments, out)

    _run(as_json, work)


@root.command("tee-rack")
@click.option("--config", "description", required=True, type=FILE, help="What stands in the rack (TOML).")
@json_option
def tee_rack(*, description: Path, as_json: bool) -> None:
    """Run the TEE host stand-in: guest agents of several machines and a PCCS, until SIGTERM. It proves no hardware."""

    async def work() -> dict[str, Any]:
        rack = Rack(load_rack(description))
        await rack.run_until_told(lambda url: show("tee_rack_ready", {"pccs": url}, url, as_json=as_json))
        return {"type": "tee_rack_ended"}

    _run(as_json, work)


@root.command("tee-measurements")
@click.option("--image", default=GUEST_IMAGE, show_default=True, help="Guest image of the machine.")
@click.option("--vcpus", default=8, show_default=True, type=click.IntRange(min=1), help="Its processors.")
@click.option("--memory-gb", default=64, show_default=True, type=click.IntRange(min=1), help="Its memory.")
@json_option
def tee_measurements(*, image: str, vcpus: int, memory_gb: int, as_json: bool) -> None:
    """Print the measurements of a machine of the TEE host stand-in, as operators vote for them."""
    measured = GuestShape(image=image, vcpus=vcpus, memory_gb=memory_gb).measurements
    facts = asdict(measured)
    show("tee_measurements", facts, table(facts), as_json=as_json)


@root.command("tee-images")
@json_option
def tee_images(*, as_json: bool) -> None:
    """Print digests of the code that runs on localnet, which stand for the images' that operators vote for."""
    digests = code_digests()
    show("tee_images", dict(digests), table(dict(digests)), as_json=as_json)


@root.command("tee-judge")
@rpc_option
@click.option("--chain-id", required=True, help="The rehearsal chain's.")
@click.option("--contract", "contract_id", required=True, type=ACCOUNT_ID, help="The contract account.")
@click.option("--account-id", required=True, type=ACCOUNT_ID, help="Whose machine it is.")
@click.option("--url", required=True, help="Base url of the machine's public data.")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="What it says it is.")
@click.option("--transfer", required=True, help="How its account's key shares travel.")
@click.option("--root-ca", "root_ca", required=True, type=FILE, help="Root certificate of the rack (DER).")
@json_option
def tee_judge(
    *,
    rpc_url: str,
    chain_id: str,
    contract_id: AccountId,
    account_id: AccountId,
    url: str,
    role: str,
    transfer: str,
    root_ca: Path,
    as_json: bool,
) -> None:
    """Check the evidence that a machine of the rack shows: every check, by what the contract allows now."""
    shown, root_certificate = fetch_shown(url), read_root(root_ca)

    async def work() -> dict[str, Any]:
        async with _endpoint(rpc_url, contract_id, chain_id) as rpc:
            return await judge(
                shown,
                role=Role(role),
                account_id=account_id,
                transfer=transfer,
                near_rpc_url=rpc_url,
                root_ca=root_certificate,
                rpc=rpc,
            )

    _run(as_json, work)


def _proposal(kind: str, arguments: dict[str, Any], out: Path) -> dict[str, Any]:
    content = json.dumps(arguments, indent=2).encode() + b"\n"
    changed = not out.exists() or _bytes(out) != content
    if changed:
        write_file(out, content, what="proposal file")
    return {"type": kind, "changed": changed, "file": str(out)}


def _domain_threshold(item: str) -> tuple[int, int]:
    number, _, threshold = item.partition("=")
    if not (number.isdecimal() and threshold.isdecimal()):
        raise ConfigInvalid(f"--domain-threshold takes ID=N with two whole numbers, not {item!r}")
    return int(number), int(threshold)


def _accounts(account_ids: tuple[AccountId, ...], keys_dir: Path, balance: int, out: Path) -> dict[str, Any]:
    made_any = False
    entries: list[dict[str, str]] = []
    for account_id in account_ids:
        pair, made = ensure_key_file(keys_dir / account_id, secrets.token_bytes)
        made_any = made_any or made
        key = {"public_key": str(pair.signer_key), "balance": str(balance * _YOCTO_PER_NEAR)}
        entries.append({"account_id": account_id, **key})
    content = json.dumps(entries, indent=2).encode() + b"\n"
    changed = made_any or not out.exists() or _bytes(out) != content
    if changed:
        write_file(out, content, what="accounts file")
    return {"type": "accounts", "changed": changed, "accounts": entries}


@asynccontextmanager
async def _connected(
    rpc_url: str, contract_id: AccountId, account_id: AccountId, key_file: Path
) -> AsyncIterator[tuple[NearRpc, NearCaller]]:
    """An endpoint of a rehearsal chain, and a caller with the key of that file."""
    key = read_operator_key(key_file)
    async with _endpoint(rpc_url, contract_id) as rpc:
        yield rpc, NearCaller(rpc=rpc, account_id=account_id, key=key, contract_id=contract_id, clock=SystemClock())


@asynccontextmanager
async def _endpoint(rpc_url: str, contract_id: AccountId, chain_id: str = "") -> AsyncIterator[NearRpc]:
    """An endpoint of a rehearsal chain. Its network can be asked for only if `chain_id` is given."""
    # The chain id is free in a rehearsal; that it is none of the public ones is checked below.
    clock = SystemClock()
    async with NearRpc(url=rpc_url, contract_id=contract_id, chain_id=chain_id, genesis_hash=None, clock=clock) as rpc:
        await admin.refuse_public_network(rpc)
        yield rpc


def _run(as_json: bool, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]) -> None:
    """Prints what `work` returns: its facts, `type` among them."""
    facts = asyncio.run(work())
    kind = facts.pop("type")
    show(kind, facts, table(facts), as_json=as_json)


def _setting(item: str) -> tuple[str, int]:
    name, _, number = item.partition("=")
    if not name or not number.isdecimal():
        raise ConfigInvalid(f"--set takes NAME=N with a whole number, not {item!r}")
    return name, int(number)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(_bytes(path))
    except DecodeError as error:
        raise ConfigInvalid(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise ConfigInvalid(f"{path} is not an init file: make one with `devnet deal`")
    return value


def main() -> NoReturn:
    """Runs the command line and exits."""
    sys.exit(run(root, "devnet", sys.argv[1:]))


if __name__ == "__main__":
    main()
