"""The command `sharekeeper`: its commands, and the one place where errors become exit statuses.

Commands are loaded when they are used: this file imports none of them.
"""

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from sharekeeper.errors import SharekeeperError

USAGE_STATUS: Final = 2
INTERRUPTED_STATUS: Final = 130

COMMANDS: Final = {
    "keys": ("sharekeeper.cli.keys", "Make the keys of a machine; show their public halves."),
    "backup-service": ("sharekeeper.cli.backup_service", "Run the backup service, ask it, approve a hand-out."),
    "node-agent": ("sharekeeper.cli.node_agent", "Run the node agent, ask it."),
    "vault": ("sharekeeper.cli.vault", "Look into the vault, check it, export from it, seal it anew."),
    "chain": ("sharekeeper.cli.chain", "What the contract says."),
    "wait": ("sharekeeper.cli.wait", "Wait until the contract, or the vault, says what is expected."),
    "operator": ("sharekeeper.cli.operator", "Grant and revoke the access keys of the machines."),
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


def run(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit status. Expected errors are told in one message, without a traceback."""
    as_json = "--json" in arguments
    try:
        result = root.main(args=list(arguments), prog_name="sharekeeper", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left()
    except SharekeeperError as error:
        _tell(error.code, str(error), as_json=as_json)
        return error.exit_status
    except click.Abort:
        _tell("interrupted", "interrupted", as_json=as_json)
        return INTERRUPTED_STATUS
    except click.ClickException as error:
        _tell("usage", _usage(error), as_json=as_json)
        return USAGE_STATUS
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Runs the command line and exits."""
    sys.exit(run(sys.argv[1:]))


def _tell(code: str, message: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema": 1, "type": "error", "code": code, "message": message}))
    else:
        click.echo(f"error: {message}", err=True)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    where = f" (see `{context.command_path} --help`)" if context is not None else ""
    return " ".join(error.format_message().split()).rstrip(".") + where


def _reader_left() -> int:
    """The reader of standard output went away: nothing more is written, not even at exit."""
    sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: PTH123, SIM115  # open until exit
    return 1


if __name__ == "__main__":
    main()
