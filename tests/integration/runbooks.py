"""Reading the runbooks in docs/runbooks, and doing what they say.

A fenced block says in its info string what it is:

- `sh`: run as it stands, by bash, with the `sharekeeper` of this checkout on PATH, and `sharekeeper-with-keys`;
- `sh variables`: names that the operator sets; here each gets the value that the test gives it;
- `sh host`: not run here (ssh, systemctl, near). A unit is started or stopped by the test itself, with exactly the
  words that bash makes of the block; anything else is only parsed.

The paragraph after a `sh` block says what to expect: a line of the output, `...` standing for anything.
"""

import asyncio
import os
import re
import subprocess
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .cli import AGENT, COMMAND

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
EXECUTED = {
    "RECOVER": "recover-a-node.md",
    "OPEN": "open-a-backup-by-hand.md",
    "ROTATE": "rotate-keys.md",
    "DEPLOY": "deploy-contract.md",
    "QUORUM": "endpoints-disagree.md",
    "ACCESS": "access-keys.md",
}
"""The runbooks whose commands are run, under the names the tests have for them."""
NOTHING = "no output"
SOON_SECONDS = 30
BLOCK_SECONDS = 40

_FENCE = re.compile(r"( *)```(.*)")
_EXPECTED = re.compile(r" *Expected( within a minute)?: (?:`(.+)`|(no output))")
_VARIABLE = re.compile(r"([A-Z][A-Z0-9_]*)=(\S+) *(#.*)?")
_RECORDED = "sudo() { printf '%s\\0' \"$@\"; }\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block. `expected` is None where the runbook says nothing; `soon`: it may take a while."""

    where: str
    section: str
    kind: str
    text: str
    expected: str | None
    soon: bool

    @property
    def variables(self) -> tuple[str, ...]:
        """The names a `sh variables` block sets."""
        found = [_VARIABLE.fullmatch(line) for line in self.text.splitlines()]
        assert all(found), f"{self.where}: not one NAME=value a line"
        return tuple(one[1] for one in found)


def blocks(runbook: str, section: str | None = None) -> list[Block]:
    """The blocks of a runbook, in order; those of one section if it is named, which must have some."""
    found = [block for block in _read(runbook) if section in (None, block.section)]
    assert found, f"{runbook} has no blocks in {section!r}"
    return found


def _read(runbook: str) -> Iterator[Block]:
    lines = (DIRECTORY / runbook).read_text(encoding="utf-8").splitlines()
    section, number = "", 0
    while number < len(lines):
        if lines[number].startswith("## "):
            section = lines[number].removeprefix("## ")
        fence = _FENCE.fullmatch(lines[number])
        number += 1
        if fence is None:
            continue
        start = number
        end = next(n for n in range(start, len(lines)) if lines[n] == f"{fence[1]}```")
        number = end + 1
        after = next((line for line in lines[number:] if line), "")
        told = _EXPECTED.fullmatch(after)
        yield Block(
            where=f"{runbook}:{start}",
            section=section,
            kind=fence[2],
            text=textwrap.dedent("\n".join(lines[start:end])) + "\n",
            expected=None if told is None else told[2] or told[3],
            soon=told is not None and told[1] is not None,
        )


def fits(expected: str, output: str) -> bool:
    """Whether the output is what the runbook says: nothing at all, or a line in it."""
    if expected == NOTHING:
        return output == ""
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in expected.split("..."))
    return any(re.fullmatch(pattern, " ".join(line.split())) for line in output.splitlines())


Supervise = Callable[[str, str], Awaitable[None]]
"""Called with the verb and the unit of a `systemctl`."""


class Operator:
    """Somebody who follows a runbook to the letter."""

    def __init__(self, directory: Path, facts: Mapping[str, object], *, supervise: Supervise) -> None:
        """`facts`: the values of the variables the runbooks ask for. A callable is asked when its block comes."""
        self._facts, self._supervise = facts, supervise
        self.variables: dict[str, str] = {}
        tools = directory / "bin"
        tools.mkdir()
        for name in ("sharekeeper", "sharekeeper-with-keys"):  # keys are files here: both are the same
            command = tools / name
            command.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
            command.chmod(0o755)
        self._environment = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(AGENT), "HOME": str(directory)}

    async def follow(self, found: list[Block], *, until: str | None = None) -> None:
        """Every block was done, and showed what the runbook says; those before the one with `until` in it."""
        for block in found:
            if until is not None and until in block.text:
                return
            match block.kind:
                case "sh variables":
                    for name in block.variables:
                        value = self._facts[name]
                        self.variables[name] = str(value() if callable(value) else value)
                case "sh host":
                    await self._host(block)
                case _:
                    await self._run(block)
        assert until is None, f"no block has {until!r}"

    async def _run(self, block: Block) -> None:
        deadline = time.monotonic() + SOON_SECONDS
        while True:
            status, output = await self._bash(block.text)
            if status == 0 and fits(block.expected or "", output):
                return
            if not block.soon or time.monotonic() > deadline:
                raise AssertionError(f"{block.where}: status {status}, expected {block.expected!r}:\n{output}")
            await asyncio.sleep(0.2)

    async def _host(self, block: Block) -> None:
        if block.text.split()[0] != "sudo":
            return
        status, output = await self._bash(_RECORDED + block.text)
        words = output.split("\0")[:-1]
        assert status == 0, f"{block.where}: {output}"
        if words[0] == "systemctl":
            for unit in words[2:]:
                await self._supervise(words[1], unit)

    async def _bash(self, text: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", text),
            env={**self._environment, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(BLOCK_SECONDS):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, output.decode()


class Units:
    """The daemons that a test's operator starts and stops: a process each, from the command line."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    async def start(self, unit: str, config: Path | str) -> None:
        """The daemon of that configuration runs as `unit`."""
        assert unit not in self._running, f"{unit} runs already"
        role = unit.removeprefix("sharekeeper-")
        self._running[unit] = subprocess.Popen(
            [*COMMAND, role, "run", "--config", str(config)],
            env={**os.environ, "PYTHONPATH": str(AGENT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def stop(self, unit: str) -> bool:
        """The daemon has ended, in good order; False if none ran as `unit`."""
        process = self._running.pop(unit, None)
        if process is None:
            return False
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
        return True

    async def close(self) -> None:
        """None runs any more."""
        for process in self._running.values():
            process.kill()
            await asyncio.to_thread(process.wait)


def check_syntax(block: Block) -> None:
    """bash can parse it. Raises `AssertionError`."""
    checked = subprocess.run(
        ["bash", "-n"],
        input=block.text,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={"PATH": os.defpath},
    )
    assert (checked.returncode, checked.stderr) == (0, ""), f"{block.where}: {checked.stderr}"
