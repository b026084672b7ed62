"""`sharekeeper attestation`: what a machine in a TEE shows, check by check, and what operators vote for."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from sharekeeper.cli.common import ACCOUNT_ID, FILE, SIGNER_KEY, TLS_KEY, Parsed, json_option, show, table
from sharekeeper.domain.attestation import CodeHash
from sharekeeper.domain.identity import AccountId, Role, SignerKey, TlsKey
from sharekeeper.errors import AttestationRefused, ConfigInvalid
from sharekeeper.spec import REPORT_DATA_BYTES

Command = TypeVar("Command", bound=Callable[..., Any])
_NS: Final = 10**9
_MARKS: Final = {True: "ok", False: "REFUSED", None: "-"}


def _report_data(text: str) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != REPORT_DATA_BYTES:
        raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes, not {len(data)}")
    return data


CODE_HASH: Final = Parsed("SHA256", lambda text: CodeHash(text.removeprefix("sha256:")))
REPORT_DATA: Final = Parsed("HEX", _report_data)
ROLE: Final = click.Choice([role.value for role in Role])

_EVIDENCE_OPTIONS: Final = (
    click.option("--evidence", "evidence_path", type=FILE, help="Evidence, or a saved page /public_data; or else:"),
    click.option("--url", metavar="URL", help="A machine's base url: its page /public_data is read."),
    click.option("--role", type=ROLE, required=True, help="What the machine says it is."),
    click.option("--policy", "policy_path", type=FILE, required=True, help="The policy file (docs/attestation.md)."),
    click.option("--tls-key", type=TLS_KEY, help="The machine's TLS key; what it shows if not given."),
    click.option("--account-key", type=SIGNER_KEY, help="The machine's account key; what it shows if not given."),
    click.option("--report-data", type=REPORT_DATA, help="What it was made for, instead of the two keys."),
    click.option("--collateral", "collateral_path", type=FILE, help="Intel's collateral; the machine's if not given."),
    click.option("--at", "at_s", type=click.IntRange(min=0), metavar="UNIX", help="The time; now if not given."),
    click.option("--rpc-url", metavar="URL", help="A NEAR endpoint, to ask the contract what is allowed."),
    click.option("--chain-id", metavar="NAME", help="mainnet, testnet or a dev chain's."),
    click.option("--contract-id", type=ACCOUNT_ID, help="The MPC contract's account."),
)


def _evidence_options(command: Command) -> Command:
    for option in reversed(_EVIDENCE_OPTIONS):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """Verify what a machine in a TEE shows; compute what to vote for."""


@command.command()
@_evidence_options
@json_option
def verify(*, as_json: bool, **given: Any) -> int:  # noqa: ANN401  # the options above
    """Run every check on a machine's evidence; fails if one refuses it."""
    facts = _checked(**given)
    show("attestation", facts, _check_lines(facts), as_json=as_json)
    return 0 if facts["accepted"] else AttestationRefused.exit_status


@command.command()
@_evidence_options
@json_option
def explain(*, as_json: bool, **given: Any) -> None:  # noqa: ANN401  # the options above
    """Say what each check demands, and what it finds in a machine's evidence."""
    facts = _checked(**given)
    show("attestation", facts, _explained_lines(facts), as_json=as_json)


@command.command()
@click.option("--app-compose", "app_compose_path", type=FILE, required=True, help="The app-compose to deploy.")
@click.option("--role", type=ROLE, required=True, help="Which machine it is for.")
@click.option("--image", type=CODE_HASH, required=True, help="The digest of the image that says it runs.")
@click.option("--key-provider-id", type=CODE_HASH, required=True, help="The key provider's enclave (mr_enclave).")
@click.option("--storage-fs", default="zfs", show_default=True, help="File system of the encrypted disk.")
@click.option("--registers", "registers_path", type=FILE, help="JSON with mrtd, rtmr0, rtmr1, rtmr2 (dstack-mr).")
@json_option
def measure(
    *,
    app_compose_path: Path,
    role: str,
    image: CodeHash,
    key_provider_id: CodeHash,
    storage_fs: str,
    registers_path: Path | None,
    as_json: bool,
) -> None:
    """Compute what a machine will measure, and which votes it needs."""
    from sharekeeper.cli.attestation_measure import measured_facts, measured_lines  # noqa: PLC0415  # others need none

    facts = measured_facts(
        _text(app_compose_path),
        role=Role(role),
        image=image,
        key_provider_id=key_provider_id,
        storage_fs=storage_fs,
        registers=None if registers_path is None else _text(registers_path),
    )
    show("attestation_measurements", facts, measured_lines(facts), as_json=as_json)


@command.command(name="app-compose")
@click.option("--name", required=True, help="Of the virtual machine.")
@click.option("--docker-compose", "compose_path", type=FILE, required=True, help="The compose file, byte for byte.")
@json_option
def app_compose(*, name: str, compose_path: Path, as_json: bool) -> None:
    """Print the app-compose that deploys a compose file; the same bytes every time."""
    from sharekeeper.attestation.app_compose import build_app_compose, compose_hash  # noqa: PLC0415

    try:
        text = build_app_compose(name, _text(compose_path))
    except ValueError as error:
        raise ConfigInvalid(str(error)) from None
    show("app_compose", {"app_compose": text, "compose_hash": compose_hash(text)}, text.rstrip("\n"), as_json=as_json)


@command.command(name="compose-file")
@click.option("--role", type=ROLE, required=True, help="Which machine it is for.")
@click.option("--policy", "policy_path", type=FILE, required=True, help="The policy file, which has the parameters.")
@click.option("--image", type=CODE_HASH, required=True, help="The agent's image.")
@click.option("--near-image", type=CODE_HASH, required=True, help="The NEAR node's image.")
@click.option("--mpc-image", type=CODE_HASH, help="The MPC node's image, if the agent starts it.")
@json_option
def compose_file(
    *,
    role: str,
    policy_path: Path,
    image: CodeHash,
    near_image: CodeHash,
    mpc_image: CodeHash | None,
    as_json: bool,
) -> None:
    """Print the one compose file of a machine; the same bytes every time."""
    from sharekeeper.attestation.compose_file import Images, render_compose_file  # noqa: PLC0415
    from sharekeeper.cli.attestation_policy import read_policy  # noqa: PLC0415
    from sharekeeper.domain.keyset import Sha256Hex  # noqa: PLC0415

    parameters = read_policy(policy_path).parameters
    if parameters is None:
        raise ConfigInvalid(
            f"{policy_path} lists compose files, so there is none to write; give parameters in [compose]"
        )
    try:
        text = render_compose_file(Role(role), parameters, Images(agent=image, near=near_image, mpc=mpc_image))
    except ValueError as error:
        raise ConfigInvalid(f"{policy_path}: {error}") from None
    facts = {"compose_file": text, "sha256": Sha256Hex.of(text.encode())}
    show("compose_file", facts, text.rstrip("\n"), as_json=as_json)


def _checked(
    *,
    evidence_path: Path | None,
    url: str | None,
    role: str,
    policy_path: Path,
    tls_key: TlsKey | None,
    account_key: SignerKey | None,
    report_data: bytes | None,
    collateral_path: Path | None,
    at_s: int | None,
    rpc_url: str | None,
    chain_id: str | None,
    contract_id: AccountId | None,
) -> dict[str, Any]:
    from sharekeeper.attestation.checks import CHECKS  # noqa: PLC0415  # cryptography and dcap-qvl are slow to import
    from sharekeeper.attestation.report_data import registration_report_data  # noqa: PLC0415
    from sharekeeper.attestation.verifier import explain_evidence  # noqa: PLC0415
    from sharekeeper.cli.attestation_input import fetch_shown, read_shown  # noqa: PLC0415
    from sharekeeper.cli.attestation_policy import read_policy  # noqa: PLC0415

    if (evidence_path is None) is (url is None):
        raise click.UsageError("give --evidence or --url, and not both")
    if (tls_key is None) is not (account_key is None) or (tls_key is not None and report_data is not None):
        raise click.UsageError("give --tls-key with --account-key, or --report-data instead of both")
    wanted = read_policy(policy_path)
    shown = read_shown(evidence_path) if evidence_path is not None else fetch_shown(url or "")
    given = None if tls_key is None or account_key is None else (tls_key, account_key)
    keys = given or (shown.keys if report_data is None else None)  # what check 6 compares the quote with
    expected = report_data if keys is None else registration_report_data(*keys)
    if expected is None:
        raise click.UsageError("this evidence names no keys: give --tls-key with --account-key, or --report-data")
    collateral = shown.evidence.collateral if collateral_path is None else _text(collateral_path)
    if collateral is None:
        raise click.UsageError("this evidence brings no collateral: give --collateral")
    allowed = wanted.allowed or asyncio.run(_allowed(rpc_url, chain_id, contract_id))
    started = time.perf_counter_ns()
    checks = explain_evidence(
        shown.evidence,
        role=Role(role),
        report_data=expected,
        allowed=allowed,
        policy=wanted.policy,
        now_s=time.time_ns() // _NS if at_s is None else at_s,
        collateral=collateral,
    )
    taken_ms = (time.perf_counter_ns() - started) / 10**6
    accepted = all(check.ok for check in checks)
    return {
        "accepted": accepted,
        "tls_public_key": str(keys[0]) if accepted and keys else None,
        "account_public_key": str(keys[1]) if accepted and keys else None,
        "keys_from": "the machine itself" if given is None and report_data is None else "the options",
        "milliseconds": round(taken_ms, 3),
        "checks": [
            {
                "number": check.number,
                "name": check.name,
                "demands": (function.__doc__ or "").partition(". ")[2],
                "ok": check.ok,
                "found": check.detail,
            }
            for check, (_, function) in zip(checks, CHECKS, strict=True)
        ],
    }


async def _allowed(rpc_url: str | None, chain_id: str | None, contract_id: AccountId | None) -> Any:  # noqa: ANN401
    from sharekeeper.cli.near import connected  # noqa: PLC0415
    from sharekeeper.config_values import NearConfig  # noqa: PLC0415

    if rpc_url is None or chain_id is None or contract_id is None:
        raise click.UsageError(
            "the policy file has no [allowed]: give --rpc-url, --chain-id and --contract-id to ask the contract"
        )
    near = NearConfig(rpc_url=rpc_url, chain_id=chain_id, genesis_hash=None, contract_id=contract_id)
    async with connected(near) as (rpc, _):
        return await rpc.allowed_code(await rpc.head())


def _check_lines(facts: dict[str, Any]) -> str:
    rows = {
        f"{check['number']:>2} {check['name']}": f"{_MARKS[check['ok']]:<8} {check['found']}"
        for check in facts["checks"]
    }
    return "\n".join((table(rows), *_key_lines(facts), _verdict(facts)))


def _explained_lines(facts: dict[str, Any]) -> str:
    blocks = [
        f"{check['number']:>2} {check['name']}: {_MARKS[check['ok']]}\n   demands: {check['demands']}\n   found:   {check['found']}"
        for check in facts["checks"]
    ]
    return "\n".join((*blocks, *_key_lines(facts), _verdict(facts)))


def _key_lines(facts: dict[str, Any]) -> list[str]:
    names = ("tls_public_key", "account_public_key")
    return [f"{name} {facts[name]}" for name in names if facts[name] is not None]


def _verdict(facts: dict[str, Any]) -> str:
    word = "accepted" if facts["accepted"] else "refused"
    return f"{word}, in {facts['milliseconds']} ms; the keys it must be made for came from {facts['keys_from']}"


def _text(path: Path) -> str:
    """The file's text, byte for byte: no line ending is changed. Raises `ConfigInvalid`."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigInvalid(f"{path} is not UTF-8 text") from None
