"""The daemons as an operator starts them: processes, signals, locks, memory."""

import signal

from sharekeeper.domain.protocol_state import Recovery
from tests.crash.daemon_process import DaemonProcess

from .world import world

MEMORY_BYTES = 80 * 2**20


async def test_both_daemons_back_up_rest_small_and_end_cleanly_on_a_signal(tmp_path):
    async with world(tmp_path, block_ms=200) as net:
        alice = net["alice"]
        await net.grant("alice", alice.service)
        agent = DaemonProcess(alice.node("old").config_path, "node-agent")
        service = DaemonProcess(alice.service.config_path, "backup-service")
        await agent.start()
        await service.start()
        await net.until_healthy(alice.node("old"), alice.service)

        second = DaemonProcess(alice.service.config_path, "backup-service")
        await second.start()
        status, log = await second.end(0)
        assert status == 18
        assert "stop it first" in log

        assert service.status_bytes("VmRSS") < MEMORY_BYTES
        for daemon, number in ((service, signal.SIGTERM), (agent, signal.SIGINT)):
            status, log = await daemon.end(number)
            assert status == 0, log
            assert "Traceback" not in log
            assert "a signal asked for it" in log
        assert alice.node_runs("old"), "the MPC node outlives its agent"
        assert not isinstance(await net.state(), Recovery)
