"""Measured configurations and addresses of alice's machines."""

from sharekeeper.attestation.compose_file import ComposeParameters
from sharekeeper.domain.attestation import CodeHash, VaultKind
from sharekeeper.domain.identity import AccountId, NetworkId, Role

IMAGE = CodeHash("1a" * 32)
NETWORK = NetworkId(
    chain_id="devnet",
    genesis_hash="5drDbjxejaLax7EiL4x9rhim9vv6i5fhxQBkYe2hYAjs",
    contract_id=AccountId("mpc.test.near"),
)
PCCS = "https://pccs.example:8081"

NODE_ADDRESSES = {
    "pccs": [PCCS],
    "url": "http://127.90.0.11:8090",
    "listen": "127.90.0.11:8079",
    "public_listen": "127.90.0.11:8080",
    "health_address": "127.0.0.1:9312",
}
BACKUP_SERVICE_ADDRESSES = {
    "pccs": [PCCS],
    "sibling": "127.90.0.13:8079",
    "listen": "127.90.0.12:8079",
    "public_listen": "127.90.0.12:8080",
    "health_address": "127.0.0.1:9311",
    "node_agent_port": 8079,
    "node_web_port": 8080,
    "node_web_url": "https://node.example",
    "endpoints": [{"name": "far", "url": "https://rpc.example"}],
}


def parameters(role=Role.BACKUP_SERVICE, **changed):
    of_role = {"vault": VaultKind.MEMORY, "slot": 0} if role is Role.BACKUP_SERVICE else {}
    return ComposeParameters(
        **{"account_id": AccountId("alice.test.near"), "network": NETWORK, "transfer": "p2p", **of_role, **changed}
    )


def measured_toml(role=Role.BACKUP_SERVICE, **changed):
    return parameters(role, **changed).measured_toml(role, IMAGE)


def addresses_toml(addresses):
    plain = {name: value for name, value in addresses.items() if name != "endpoints"}
    lines = [f"{name} = {_toml(value)}" for name, value in plain.items()]
    for endpoint in addresses.get("endpoints", ()):
        lines += ["[[endpoints]]", *(f"{name} = {_toml(value)}" for name, value in endpoint.items())]
    return "\n".join(lines) + "\n"


def _toml(value):
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
