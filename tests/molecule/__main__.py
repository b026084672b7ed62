"""`python -m tests.molecule [SCENARIO...]`: Molecule's scenarios on hosts of this computer, timed. Needs root.

Plays each scenario's whole sequence (all of them if none is named), two at a time, and prints how long each step took.
On top of what Molecule tests, a scenario fails when its second check foresees a change. Full output:
`.build/molecule/log/`.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from tests.molecule.hosts import image, machine
from tests.molecule.hosts.commands import HostsError, require_machine, run
from tests.molecule.hosts.state import CHECKOUT, DIRECTORY, Host, every

GLOB: Final = "tests/molecule/*/molecule.yml"
LOGS: Final = DIRECTORY / "log"
BUNDLES: Final = DIRECTORY / "bundles"

_STEP: Final = re.compile(r"^[A-Z]+ +\[[\w-]+ > (\w+)\] (Executing|Executed: .*)$")
_RECAP: Final = re.compile(r"^(\S+) +: ok=\d+ +changed=([1-9]\d*)")
_COLOR: Final = re.compile(r"\x1b\[[0-9;]*m")
_SHOWN_LINES: Final = 60


@dataclass(slots=True, kw_only=True)
class Step:
    """One step of a scenario, as it ran. `changed`: the hosts on which something changed, or would have."""

    name: str
    began: float
    seconds: float = 0.0
    outcome: str = "did not end"
    changed: list[str] = field(default_factory=list)


def scenarios() -> tuple[str, ...]:
    """The names of all scenarios."""
    return tuple(sorted(path.parent.name for path in CHECKOUT.glob(GLOB)))


def read_steps(lines: Iterator[str]) -> list[Step]:
    """The steps that Molecule reports on its output, timed as its lines come."""
    steps: list[Step] = []
    for line in lines:
        if found := _STEP.search(line):
            if found[2] == "Executing":
                steps.append(Step(name=found[1], began=time.monotonic()))
            elif steps and steps[-1].name == found[1]:
                steps[-1].seconds = time.monotonic() - steps[-1].began
                steps[-1].outcome = found[2].removeprefix("Executed: ")
        elif steps and (recap := _RECAP.match(line)):
            steps[-1].changed.append(recap[1])
    return steps


def unforeseen(steps: list[Step]) -> list[str]:
    """The hosts that a check after the converge would have changed."""
    names = [step.name for step in steps]
    converged = names.index("converge") if "converge" in names else len(names)
    return [host for step in steps[converged:] if step.name == "check" for host in step.changed]


def report(scenario: str, *, keep: bool) -> bool:
    """Whether the scenario holds; one line says so, with what each step took."""
    holds, steps = play(scenario, keep=keep)
    spent = "  ".join(f"{step.name} {step.seconds:.0f}" for step in steps)
    click.echo(f"{scenario}: {'ok' if holds else 'FAILED'} in {sum(step.seconds for step in steps):.0f} s ({spent})")
    return holds


def own_hosts(scenario: str) -> list[Host]:
    """The hosts of a scenario that are there now; those of another one, played at the same time, are not its own."""
    inventory = (CHECKOUT / "tests" / "molecule" / scenario / "inventory" / "hosts.yml").read_text(encoding="utf-8")
    return [host for host in every() if f" {host.name}:\n" in inventory]


def play(scenario: str, *, keep: bool) -> tuple[bool, list[Step]]:
    """Whether the scenario holds, and its steps. Its hosts are gone afterwards unless `keep`."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{scenario}.log"
    words = [str(Path(sys.executable).with_name("molecule")), "test", "-s", scenario]
    words += ["--destroy", "never" if keep else "always"]
    try:
        with subprocess.Popen(
            words,
            env=_environment(),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as molecule:
            steps = read_steps(_logged(molecule, log))
        status = molecule.returncode
    finally:
        for host in () if keep else own_hosts(scenario):
            machine.destroy(host)
    if status:
        click.echo("\n".join(log.read_text(encoding="utf-8").splitlines()[-_SHOWN_LINES:]))
    for changed in unforeseen(steps):
        click.echo(f"{scenario}: check mode foresees a change on {changed} right after the converge; see {log}")
    return status == 0 and any(step.name == "converge" for step in steps) and not unforeseen(steps), steps


def _logged(molecule: subprocess.Popen[str], log: Path) -> Iterator[str]:
    """Molecule's lines without colours, each written to the log as it comes."""
    with log.open("w", encoding="utf-8") as file:
        for line in molecule.stdout or ():
            plain = _COLOR.sub("", line).rstrip("\n").removeprefix("  │ ")
            file.write(plain + "\n")
            file.flush()
            yield plain


def _environment() -> dict[str, str]:
    """Molecule calls Ansible by name, and its own configuration is the one that counts."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    path = f"{Path(sys.executable).parent}:{environment.get('PATH', os.defpath)}"
    return environment | {"PATH": path, "MOLECULE_GLOB": GLOB, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "COLUMNS": "200"}


@click.command()
@click.argument("names", nargs=-1, metavar="[SCENARIO...]")
@click.option("--keep", is_flag=True, help="Leave the hosts running, to look at them.")
@click.option("--together", type=click.IntRange(1), default=2, show_default=True, help="How many scenarios at a time.")
def main(names: tuple[str, ...], *, keep: bool, together: int) -> None:
    """Play scenarios on hosts of this computer; all of them if none is named."""
    unknown = sorted(set(names) - set(scenarios()))
    if unknown:
        raise click.UsageError(f"no scenario {', '.join(unknown)}; there are {', '.join(scenarios())}")
    require_machine()
    began = time.monotonic()
    image.ensure_image()
    run([sys.executable, str(CHECKOUT / "roles/bundle/files/build.py"), "--to", str(BUNDLES)])
    click.echo(f"base image and bundles: {time.monotonic() - began:.0f} s")
    # The longest first: it is the last one in the alphabet.
    wanted = sorted(names or scenarios(), reverse=True)
    with ThreadPoolExecutor(together) as pool:
        held = list(pool.map(lambda name: report(name, keep=keep), wanted))
    click.echo(f"{time.monotonic() - began:.0f} s in all")
    sys.exit(not all(held))


if __name__ == "__main__":
    try:
        main(prog_name="python -m tests.molecule")
    except HostsError as error:
        click.echo(f"molecule: {error}", err=True)
        sys.exit(2)
