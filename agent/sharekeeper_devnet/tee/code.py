"""Digests that stand for container images on localnet, where no image is built: of the code that runs instead."""

import hashlib
from pathlib import Path

import sharekeeper
import sharekeeper_devnet
from sharekeeper.domain.attestation import CodeHash


def code_digests() -> dict[str, CodeHash]:
    """Of the agent, the NEAR node and the MPC node, each over names and contents of its Python files."""
    agent, devnet = Path(sharekeeper.__file__).parent, Path(sharekeeper_devnet.__file__).parent
    return {
        "agent": _digest(agent),
        "near": _digest(devnet / "chain", devnet / "runtime"),
        "mpc": _digest(devnet / "network"),
    }


def _digest(*directories: Path) -> CodeHash:
    digest = hashlib.sha256()
    for directory in directories:
        for path in sorted(directory.rglob("*.py")):
            name = path.relative_to(directory.parent).as_posix()
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return CodeHash(digest.hexdigest())
