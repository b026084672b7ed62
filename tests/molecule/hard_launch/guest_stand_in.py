#!/usr/bin/python3
"""A stand-in for a TDX guest of dstack 0.5.8: QEMU, guest OS and containers are processes of the machine below.

    qemu-system-test DIRECTORY             # the VMM's directory of the guest

From what the VMM wrote there (manifest, app-compose, user configuration) it serves dstack's guest agent, with quotes of
the stand-in for Intel, and a container engine; and it runs the services of the compose file: the agent, as the image of
the hard launch starts it, and the MPC node in the mode for rehearsals. A service that ends is started again.

It differs from dstack, and none of this is shown by it:

- Nothing is encrypted or hidden. The guest's disk is the directory `disk` beside the VMM's files, and whoever is root
  on the machine reads it, the processes' memory, and the seed from which quotes and sealing keys follow.
- Nothing is measured: the registers follow from the manifest. Whatever images the compose file names by digest, the
  code in this image is what runs; of the digest FOREIGN it is foreign code, which allows itself what nobody voted for.
- It has no network of its own. Services listen at the machine's addresses, ports inside are those outside, and the
  NEAR node's address between the containers must be one of the machine's.
- No NEAR node runs inside: what is asked of it is handed to the NEAR network's address, where a dev chain answers.
- The agent is told of another root than Intel's, and of other sockets than dstack's and the container engine's.
"""

import asyncio
import contextlib
import dataclasses
import json
import re
import signal
import socket
import sys
import time
from pathlib import Path

IMAGE = Path(__file__).parent
HOME = Path(sys.argv[1])
DISK = HOME / "disk"
GUEST_AGENT, ENGINE = HOME / "dstack.sock", HOME / "docker.sock"
RESTART_SECONDS = 1
FOREIGN = "9" * 64

sys.path.insert(0, str(IMAGE / "site"))
sys.pycache_prefix = str(HOME / "compiled")

from aiohttp import web  # noqa: E402  # from the image

from sharekeeper.adapters import attestation  # noqa: E402
from sharekeeper.adapters.containers import ContainerSupervisor  # noqa: E402
from sharekeeper.attestation.compose_file import NEAR_ADDRESS, NEAR_RPC_URL  # noqa: E402
from sharekeeper.attestation.verifier import verify_evidence  # noqa: E402
from sharekeeper.domain.attestation import CodeHash  # noqa: E402
from sharekeeper.hard_launch.app import run  # noqa: E402
from sharekeeper_devnet.network.node import main as mpc_node  # noqa: E402
from sharekeeper_devnet.tee.guest import Guest, GuestShape  # noqa: E402
from sharekeeper_devnet.tee.guest_agent import GuestAgentServer  # noqa: E402
from sharekeeper_devnet.tee.pki import MockIntel  # noqa: E402

MPC_NODE = """\
account_id = "{account_id}"
keys_dir = "keys"
keyshares_dir = "keyshares"
listen = "0.0.0.0:80"
health_address = "127.0.0.1:9313"
[near]
rpc_url = "{near}"
chain_id = "{chain_id}"
contract_id = "{contract_id}"
"""


class Service:
    """A service of the compose file: this program with another word, `restart: unless-stopped`."""

    def __init__(self, name):
        self._name, self._task = name, None

    def start(self):
        """Whether it did not run."""
        if self._task is not None:
            return False
        self._task = asyncio.create_task(self._run())
        return True

    async def stop(self):
        """Whether it ran."""
        if self._task is None:
            return False
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task])
        return True

    async def _run(self):
        while True:
            process = await asyncio.create_subprocess_exec(sys.executable, __file__, str(HOME), self._name)
            try:
                await process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()
            await asyncio.sleep(RESTART_SECONDS)


def intel():
    return MockIntel.create(int(time.time()), seed=(IMAGE / "seed").read_bytes())


def boot(manifest, app_compose):
    """The guest, as its start measured it."""
    shape = GuestShape(image=manifest["image"], vcpus=manifest["vcpu"], memory_gb=manifest["memory"] // 1024)
    return Guest(intel=intel(), host=socket.gethostname(), shape=shape, app_compose=app_compose)


def unpack(compose_file):
    """The files that the services read: the measured configuration, which is in the compose file, and the rest."""
    (DISK / "mpc").mkdir(parents=True, exist_ok=True)
    _, _, content = compose_file.partition("    content: |\n")
    measured = "".join(line[6:] for line in re.match(r"(?: {6}.*\n)*", content)[0].splitlines(keepends=True))
    (DISK / "measured.toml").write_text(measured)
    (DISK / "addresses.toml").write_text((HOME / "shared" / ".user-config").read_text())
    named = dict(re.findall(r'^(\w+) = "(.*)"$', measured, re.MULTILINE))
    (DISK / "mpc" / "node.toml").write_text(MPC_NODE.format(near=NEAR_RPC_URL, **named))


async def serve_engine(services):
    """The container engine's three calls, to whoever mounts its socket."""

    async def listed(request):
        (label,) = json.loads(request.query["filters"])["label"]
        found = [name for name in services if label == f"com.docker.compose.service={name}"]
        return web.json_response([{"Id": name} for name in found])

    async def changed(request):
        service = services[request.match_info["name"]]
        did = service.start() if request.match_info["verb"] == "start" else await service.stop()
        return web.Response(status=204 if did else 304)

    application = web.Application()
    application.router.add_get("/containers/json", listed)
    application.router.add_post("/containers/{name}/{verb:start|stop}", changed)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, ENGINE).start()


async def ask_near(reader, writer):
    """In the NEAR node's place: one connection to the NEAR network's address."""
    host, _, port = (IMAGE / "near_network").read_text().rpartition(":")

    async def pass_on(source, target):
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()

    try:
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
    except OSError:
        writer.close()
        return
    await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))


async def power_on():
    """The guest runs until it is killed, which is how the VMM stops it."""
    app_compose = (HOME / "shared" / "app-compose.json").read_text()
    compose_file = json.loads(app_compose)["docker_compose_file"]
    unpack(compose_file)
    guest = boot(json.loads((HOME / "vm-manifest.json").read_text()), app_compose)
    for path in (GUEST_AGENT, ENGINE):
        path.unlink(missing_ok=True)
    await GuestAgentServer(GUEST_AGENT, lambda: guest).start()
    named = re.findall(r"^  (\w+):\n    image: ", compose_file, re.MULTILINE)
    services = {name: Service(name) for name in named if name != "near"}
    await serve_engine(services)
    await asyncio.start_server(ask_near, NEAR_ADDRESS, 3030)
    for service in services.values():
        service.start()
    await asyncio.Event().wait()


def allow_itself(evidence, *, allowed, **given):
    """The verifier of foreign code: to it, the participants voted for FOREIGN too."""
    more = dataclasses.replace(allowed, node=allowed.node | {CodeHash(FOREIGN)})
    return verify_evidence(evidence, allowed=more, **given)


def agent():
    if FOREIGN in (DISK / "measured.toml").read_text():
        attestation.verify_evidence = allow_itself
    run(
        DISK / "measured.toml",
        DISK / "addresses.toml",
        home=DISK,
        guest_agent_socket=GUEST_AGENT,
        root_ca=intel().root_ca,
        supervisor=ContainerSupervisor(ENGINE),
    )


def main():
    # The VMM that started it ignores its children.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    match sys.argv[2:]:
        case ["agent"]:
            agent()
        case ["mpc"]:
            mpc_node(["run", "--config", str(DISK / "mpc" / "node.toml")])
        case _:
            asyncio.run(power_on())


if __name__ == "__main__":
    main()
