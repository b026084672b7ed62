"""`python -m tests.molecule.hosts`: make Debian hosts, break them, remove them. Needs root.

Every command prints one JSON line whose `changed` is true only when something changed; `sh` prints what it runs.
"""

import json
import sys
from typing import Any

import click

from tests.molecule.hosts import image, machine, network, probe
from tests.molecule.hosts.commands import HostsError, require_machine
from tests.molecule.hosts.state import KEY, Disk, Host, every, load

_NAMES = click.argument("names", nargs=-1, required=True)
_NAME = click.argument("name")
_PATH = click.argument("path")


def _show(*, changed: bool, **facts: Any) -> None:  # whatever the command has to say
    click.echo(json.dumps({"changed": changed, **facts}))


@click.group()
def main() -> None:
    """Make Debian hosts on this computer, break them, remove them."""
    require_machine()


@main.command()
def check() -> None:
    """Say whether this computer can keep hosts; if not, in one line, what is missing."""
    probe.probe()
    _show(changed=False)


@main.command()
def base() -> None:
    """Build the base image, once."""
    _show(changed=image.ensure_image(), image=str(image.IMAGE))


@main.command()
@click.argument("hosts", nargs=-1, required=True, metavar="NAME=ADDRESS...")
@click.option("--disk", "disks", multiple=True, metavar="NAME:PATH=SIZE", help="A small disk of its own, like 16M.")
@click.option("--tpm2", multiple=True, metavar="NAME", help="Give the host a TPM2 of its own.")
def create(hosts: tuple[str, ...], disks: tuple[str, ...], tpm2: tuple[str, ...]) -> None:
    """Make hosts and wait until they answer SSH; those that are there are started."""
    made = [_host(word, disks, tpm2) for word in hosts]
    changed = [machine.create(host) for host in made]
    for host in made:
        machine.await_ssh(host)
    ways = {host.name: {"address": host.address, "known_hosts": str(host.directory / "known_hosts")} for host in made}
    _show(changed=any(changed), hosts=ways, identity_file=str(KEY))


def _host(word: str, disks: tuple[str, ...], tpm2: tuple[str, ...]) -> Host:
    name, _, address = word.partition("=")
    own = [disk.partition(":")[2] for disk in disks if disk.partition(":")[0] == name]
    return Host(name=name, address=address, disks=tuple(map(Disk.parse, own)), tpm2=name in tpm2)


@main.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every host of this checkout.")
def destroy(names: tuple[str, ...], *, everything: bool) -> None:
    """Remove hosts, and whatever they alone needed. A host that is not there is removed already."""
    changed = [machine.destroy(host) for host in every() if everything or host.name in names]
    _show(changed=any(changed))


@main.command("list")
def list_hosts() -> None:
    """Show all hosts."""
    _show(changed=False, hosts={host.name: [host.address, machine.running(host)] for host in every()})


@main.command()
@_NAMES
def start(names: tuple[str, ...]) -> None:
    """Boot hosts that are off, and wait until they answer SSH."""
    changed = [machine.start(load(name)) for name in names]
    for name in names:
        machine.await_ssh(load(name))
    _show(changed=any(changed))


@main.command()
@_NAMES
def halt(names: tuple[str, ...]) -> None:
    """Shut hosts down in good order."""
    changed = [machine.halt(load(name)) for name in names]
    _show(changed=any(changed))


@main.command()
@_NAMES
def kill(names: tuple[str, ...]) -> None:
    """Cut the power of hosts."""
    changed = [machine.kill(load(name)) for name in names]
    _show(changed=any(changed))


@main.command()
@_NAME
def reboot(name: str) -> None:
    """Reboot a host, and wait until it answers SSH."""
    machine.reboot(load(name))
    _show(changed=True)


@main.command()
@_NAME
@click.argument("other", required=False)
def cut(name: str, other: str | None) -> None:
    """Cut a host off from everybody, or from OTHER only."""
    network.cut(load(name), None if other is None else load(other))
    _show(changed=True)


@main.command()
@_NAME
@click.argument("other", required=False)
def heal(name: str, other: str | None) -> None:
    """Undo every cut of a host, or the one between it and OTHER."""
    network.heal(load(name), None if other is None else load(other))
    _show(changed=True)


@main.command()
@_NAME
@_PATH
def fill(name: str, path: str) -> None:
    """Fill a host's own disk at PATH to the last byte."""
    machine.fill(load(name), path)
    _show(changed=True)


@main.command()
@_NAME
@_PATH
def drain(name: str, path: str) -> None:
    """Give a filled disk its room back."""
    machine.drain(load(name), path)
    _show(changed=True)


@main.command(context_settings={"ignore_unknown_options": True})
@_NAME
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def sh(name: str, words: tuple[str, ...]) -> None:
    """Run a command inside a host, without its network; ends with the command's status."""
    sys.exit(machine.enter(load(name), words))


if __name__ == "__main__":
    try:
        main(prog_name="python -m tests.molecule.hosts")
    except HostsError as error:
        click.echo(f"hosts: {error}", err=True)
        sys.exit(2)
