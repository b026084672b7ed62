"""Daemons as processes of their own, to be killed."""

import asyncio
import os
import signal
import sys
from pathlib import Path

PROGRAM = "import sys\nfrom sharekeeper.cli.main import main\nmain()\n"


class DaemonProcess:
    """`sharekeeper <role> run` in a process."""

    def __init__(self, config_path: Path, command: str, *, program: str = PROGRAM) -> None:
        self.config_path, self.command, self.program = config_path, command, program
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "CREDENTIALS_DIRECTORY"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            self.program,
            self.command,
            "run",
            "--config",
            str(self.config_path),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )

    def status_bytes(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name} in the status of the process")

    async def end(self, number: int) -> tuple[int, str]:
        """Exit status (negative: signal) and log, after that signal."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        _, errors = await asyncio.wait_for(self.process.communicate(), 20)
        return self.process.returncode, errors.decode()

    async def kill(self) -> str:
        return (await self.end(signal.SIGKILL))[1]
