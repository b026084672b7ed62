"""`sharekeeper keys`: make the keys of a machine, show their public halves."""

from pathlib import Path
from typing import Any

import click

from sharekeeper import keys
from sharekeeper.cli.common import DIRECTORY, json_option, show, table
from sharekeeper.domain.identity import Role

_ROLES = [role.value for role in Role]


@click.group()
def command() -> None:
    """Make the keys of a machine; show their public halves."""


@command.command()
@click.option("--role", type=click.Choice(_ROLES), required=True, help="Which machine the keys are for.")
@click.option("--dir", "directory", type=DIRECTORY, required=True, help="Where they are kept (mode 0700).")
@json_option
def generate(*, role: str, directory: Path, as_json: bool) -> None:
    """Make the keys of a machine, once.

    A complete set for that role is left as it is; keys are never overwritten.
    """
    changed = keys.generate(directory, Role(role))
    facts = {"changed": changed, **_facts(keys.public_keys(directory))}
    told = "made" if changed else "already there, nothing changed"
    show("keys", facts, f"keys in {directory}: {told}\n{_lines(facts)}", as_json=as_json)


@command.command("show")
@click.option("--dir", "directory", type=DIRECTORY, required=True, help="The key directory.")
@json_option
def show_keys(*, directory: Path, as_json: bool) -> None:
    """Show the public keys of a key directory: what the operator grants and the contract records."""
    facts = _facts(keys.public_keys(directory))
    show("keys", facts, _lines(facts), as_json=as_json)


def _facts(found: keys.PublicKeys) -> dict[str, Any]:
    signing = found.vault_signing_public_key
    return {
        "role": found.role.value,
        "tls_public_key": str(found.tls_public_key),
        "account_public_key": str(found.account_public_key),
        "vault_recipient": found.vault_recipient,
        "vault_signing_public_key": None if signing is None else str(signing),
    }


def _lines(facts: dict[str, Any]) -> str:
    return table({name: value for name, value in facts.items() if name != "changed"})
