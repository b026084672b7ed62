"""`sharekeeper completion`: the script a shell loads to complete our commands."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the shell completion script.

    \b
    bash:  source <(sharekeeper completion bash)
    zsh:   source <(sharekeeper completion zsh)
    fish:  sharekeeper completion fish | source
    """  # noqa: D301  # click's mark for lines to leave alone
    found = get_completion_class(shell)
    if found is None:  # click knows all SHELLS
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(ctx.find_root().command, {}, "sharekeeper", "_SHAREKEEPER_COMPLETE").source())
