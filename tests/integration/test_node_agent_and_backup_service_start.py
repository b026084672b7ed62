"""How the daemons start and end, in this process."""

import asyncio
import os
import signal
from functools import partial

import pytest

from sharekeeper import app, foundation
from sharekeeper.errors import ConfigInvalid, WrongNetwork
from sharekeeper.ops import status
from tests.ports import free_port

from .world import world


async def test_a_daemon_started_before_its_chain_waits_says_so_and_goes_on(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        daemon = alice.node("old")
        right = daemon.config_path.read_text()
        port = free_port()
        daemon.config_path.write_text(right.replace(alice.rpc_url, f"http://127.0.0.1:{port}"))
        daemon.start()

        async def waiting():
            return "waiting for the chain" in str(await daemon.status())

        await net.until(waiting)
        assert (await daemon.page("health"))[0] == 503
        net.chain._server, first = type(net.chain._server)(net.chain._server._methods), net.chain._server
        await net.chain._server.start("127.0.0.1", port)
        await net.until_healthy(daemon)
        await daemon.stop()
        await first.stop()


async def test_a_daemon_of_another_network_ends_at_once(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        daemon = net["alice"].node("old")
        daemon.config_path.write_text(daemon.config_path.read_text().replace('"devnet"', '"elsewhere"'))
        daemon.start()
        await asyncio.wait({daemon._task}, timeout=10)
        assert isinstance(daemon.failure, WrongNetwork)
        daemon._task = None


async def _is_up(daemon):
    return "unsafe_no_attestation" in await daemon.status()


async def test_a_daemon_in_soft_launch_says_from_the_start_that_nobody_attests(tmp_path, caplog):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        for daemon in (alice.node("old"), alice.service):
            caplog.clear()
            daemon.start()
            await net.until(partial(_is_up, daemon))
            assert next(record.message for record in caplog.records if record.levelname == "WARNING") == (
                status.UNSAFE_NO_ATTESTATION
            )
            assert (await daemon.status())["unsafe_no_attestation"] is True
            assert "\nsharekeeper_unsafe_no_attestation 1.0\n" in (await daemon.page("metrics"))[1]


async def test_a_signal_ends_the_work_and_an_error_of_the_work_is_not_swallowed():
    begun, ended = asyncio.Event(), []

    async def work():
        try:
            begun.set()
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    running = asyncio.create_task(foundation.until_signal(work()))
    await begun.wait()
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 5)
    assert ended == [1]

    async def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await foundation.until_signal(fail())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.parametrize("run", [app.run_backup_service, app.run_node_agent])
def test_a_wrong_configuration_starts_nothing(tmp_path, run):
    path = tmp_path / "config.toml"
    path.write_text("account_id = 3\n")
    with pytest.raises(ConfigInvalid):
        run(path)
    assert sorted(tmp_path.iterdir()) == [path]
