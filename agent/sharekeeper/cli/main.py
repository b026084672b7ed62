"""The command `sharekeeper`: its commands.

Commands are loaded when they are used: this file imports none of them.
"""

import sys
from importlib import import_module
from typing import Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from sharekeeper.cli.outcome import run

COMMANDS: Final = {
    "keys": ("sharekeeper.cli.keys", "Make the keys of a machine; show their public halves."),
    "backup-service": ("sharekeeper.cli.backup_service", "Run the backup service, ask it, approve a hand-out."),
    "node-agent": ("sharekeeper.cli.node_agent", "Run the node agent, ask it."),
    "vault": (
        "sharekeeper.cli.vault",
        "Look into the vault, check it, export from it, seal it anew, say what it survives.",
    ),
    "chain": ("sharekeeper.cli.chain", "What the contract says."),
    "attestation": ("sharekeeper.cli.attestation", "Verify what a machine in a TEE shows; compute what to vote for."),
    "contract": ("sharekeeper.cli.contract", "Deploy the MPC contract and check which code its account runs."),
    "wait": ("sharekeeper.cli.wait", "Wait until the contract, or the vault, says what is expected."),
    "operator": (
        "sharekeeper.cli.operator",
        "Grant and revoke the machines' access keys, and call the contract yourself.",
    ),
    "completion": ("sharekeeper.cli.completion", "Print the shell completion script."),
}
"""Name, module and one line of help; each module has its click command as `command`."""


class LazyGroup(click.Group):
    """A group whose commands are imported when one is called; its help and completion import none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in `--help`."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Names of commands, and the options of the group itself."""
        names = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  # slow to import

    try:
        click.echo(f"sharekeeper {version('sharekeeper')}")
    except PackageNotFoundError:
        click.echo("sharekeeper, not installed: run from a checkout")
    ctx.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="The version.")
def root() -> None:
    """Backup and disaster recovery for the key shares of a NEAR MPC node.

    Commands that end well exit with 0; docs/cli.md lists every other exit status.
    """


def main() -> NoReturn:
    """Runs the command line and exits."""
    sys.exit(run(root, "sharekeeper", sys.argv[1:]))


if __name__ == "__main__":
    main()
