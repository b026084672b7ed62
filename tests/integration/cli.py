"""Running the command line: in this process beside a dev chain, or as a process of its own."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import sharekeeper
from sharekeeper.cli.main import root
from sharekeeper.cli.outcome import run

AGENT = Path(sharekeeper.__file__).parents[1]
COMMAND = [sys.executable, "-m", "sharekeeper.cli.main"]


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON object on standard output."""
        assert self.out.count("\n") == 1, self.out
        found = json.loads(self.out)
        assert found["schema"] == 1
        return found


async def call(capsys, *arguments) -> Ended:
    """Runs a command in a thread of this process, so that the test's own loop goes on."""
    capsys.readouterr()
    status = await asyncio.to_thread(run, root, "sharekeeper", [str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Ended(status, captured.out, captured.err)


def process(*arguments, **options) -> subprocess.Popen:
    """Starts a command as a process."""
    environment = {**os.environ, "PYTHONPATH": str(AGENT), **options.pop("env", {})}
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], env=environment, **given)
