"""A machine of localnet in hard launch: what a CVM of the TEE host stand-in is started from, and its daemon.

    python -m sharekeeper_devnet.tee.machine prepare --dir DIR   # measured.toml and app-compose.json
    python -m sharekeeper_devnet.tee.machine run --dir DIR       # the daemon, until SIGTERM

DIR has `machine.toml` (below) and `addresses.toml`, the user-config that nobody measures. Here alone the hard
launch is told of another root than Intel's, of another socket than dstack's, and of commands for the MPC node.

```toml
name = "alice-node"
role = "node"                                # or "backup-service", which has a slot
account_id = "alice.test.near"
chain_id = "devnet"                          # the genesis hash is the endpoint's
contract_id = "mpc.test.near"
near_rpc_url = "http://127.90.0.10:3030"
transfer = "p2p"
images = {agent = "...", near = "...", mpc = "..."}
guest_agent_socket = "../rack/alice-node.sock"
root_ca_file = "../rack/root-ca.der"
start = ["..."]                              # commands that start and stop the MPC node
stop = ["..."]
```
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.durable_file import write_file
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.supervisor import CommandSupervisor
from sharekeeper.attestation.app_compose import build_app_compose, compose_hash
from sharekeeper.attestation.compose_file import ComposeParameters, Images, render_compose_file
from sharekeeper.config_values import SupervisorConfig, http_url, transfer_version
from sharekeeper.domain.attestation import CodeHash, VaultKind
from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper.errors import ConfigInvalid, SharekeeperError
from sharekeeper.hard_launch.app import run as run_hard_launch
from sharekeeper.toml_tables import Table, open_config, plain_text
from sharekeeper_devnet.network.admin import refuse_public_network

SCHEMA: Final = 1
_MEASURED, _ADDRESSES, _APP_COMPOSE = "measured.toml", "addresses.toml", "app-compose.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What `machine.toml` says. `slot` is None for a node, `supervisor` for a backup service."""

    directory: Path
    name: str
    role: Role
    account_id: AccountId
    chain_id: str
    contract_id: AccountId
    near_rpc_url: str
    transfer: str
    slot: int | None
    images: Images
    guest_agent_socket: Path
    root_ca_file: Path
    supervisor: SupervisorConfig | None

    def parameters(self, network: NetworkId) -> ComposeParameters:
        """What is measured of it. Raises `ValueError` when it contradicts itself."""
        return ComposeParameters(
            account_id=self.account_id,
            network=network,
            transfer=self.transfer,
            vault=None if self.slot is None else VaultKind.SEALED,
            slot=self.slot,
            near_rpc_url=self.near_rpc_url,
        )


def load_machine(directory: Path) -> Machine:
    """The machine of that directory. Raises `ConfigInvalid` with every mistake, one per line."""
    root = open_config(directory / "machine.toml")
    images = root.table("images")
    values = {
        "name": root.take("name", plain_text),
        "role": root.take("role", Role),
        "account_id": root.take("account_id", AccountId),
        "chain_id": root.take("chain_id", plain_text),
        "contract_id": root.take("contract_id", AccountId),
        "near_rpc_url": root.take("near_rpc_url", http_url),
        "transfer": root.take("transfer", transfer_version),
        "slot": root.take("slot", int, default=None),
        "images": {
            "agent": images.take("agent", CodeHash),
            "near": images.take("near", CodeHash),
            "mpc": images.take("mpc", CodeHash, default=None),
        },
        "guest_agent_socket": root.take("guest_agent_socket", root.path),
        "root_ca_file": root.take("root_ca_file", root.path),
        "supervisor": _supervisor(root, directory),
    }
    root.finish()
    return Machine(**{**values, "directory": directory, "images": Images(**values["images"])})


def _supervisor(root: Table, directory: Path) -> SupervisorConfig | None:
    start, stop = (root.take(name, tuple, default=()) for name in ("start", "stop"))
    return SupervisorConfig(start=start, stop=stop, directory=directory) if start else None


async def prepare(machine: Machine) -> dict[str, Any]:
    """The machine's measured configuration and app-compose are those of the code that is here.

    Raises:
        ConfigInvalid: the machine's description contradicts itself, or the endpoint serves a public network.
        ChainFault: the endpoint does not say which network it is.
    """
    parameters = machine.parameters(await _network(machine))
    try:
        measured = parameters.measured_toml(machine.role, machine.images.agent)
        compose_file = render_compose_file(machine.role, parameters, machine.images)
    except ValueError as error:
        raise ConfigInvalid(f"machine {machine.name}: {error}") from None
    app_compose = build_app_compose(machine.name, compose_file)
    written = [
        _ensure(machine.directory / name, text) for name, text in ((_MEASURED, measured), (_APP_COMPOSE, app_compose))
    ]
    return {"type": "machine", "changed": any(written), "compose_hash": compose_hash(app_compose)}


def run(machine: Machine) -> None:
    """Its daemon has run until SIGTERM. Raises as `sharekeeper.hard_launch`, and `ConfigInvalid`."""
    try:
        root_ca = machine.root_ca_file.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"{machine.root_ca_file} cannot be read: {error.strerror}; start the rack first") from None
    run_hard_launch(
        machine.directory / _MEASURED,
        machine.directory / _ADDRESSES,
        json_logs=False,
        home=machine.directory,
        guest_agent_socket=machine.guest_agent_socket,
        root_ca=root_ca,
        supervisor=None if machine.supervisor is None else CommandSupervisor(machine.supervisor),
    )


async def _network(machine: Machine) -> NetworkId:
    async with NearRpc(
        url=machine.near_rpc_url,
        contract_id=machine.contract_id,
        chain_id=machine.chain_id,
        genesis_hash=None,
        clock=SystemClock(),
    ) as rpc:
        await refuse_public_network(rpc)
        return await rpc.network()


def _ensure(path: Path, text: str) -> bool:
    """The file has that text; whether it was written now."""
    content = text.encode()
    if path.exists() and path.read_bytes() == content:
        return False
    write_file(path, content, what="file of the machine")
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="machine", description="A machine of localnet in hard launch.")
    parser.add_argument("verb", choices=("prepare", "run"))
    parser.add_argument("--dir", type=Path, required=True, help="the machine's directory")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Performs one verb; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        machine = load_machine(options.dir.absolute())
        if options.verb == "run":
            run(machine)
            return 0
        result, status = asyncio.run(prepare(machine)), 0
    except SharekeeperError as error:
        result, status = {"type": "error", "code": error.code, "message": str(error)}, error.exit_status
    print(json.dumps({"schema": SCHEMA, **result}))  # noqa: T201  # the one line is the interface
    return status


if __name__ == "__main__":
    sys.exit(main())
