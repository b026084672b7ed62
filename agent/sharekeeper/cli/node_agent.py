"""`sharekeeper node-agent`: run it, ask it."""

from pathlib import Path

import click

from sharekeeper.cli.common import config_option, json_option, show
from sharekeeper.cli.daemon import status_lines, status_of
from sharekeeper.config import load_node_agent


@click.group()
def command() -> None:
    """Run the node agent, ask it."""


@command.command()
@config_option
@json_option
def run(*, config_path: Path, as_json: bool) -> None:
    """Run the node agent until SIGTERM or Ctrl-C. With --json its log is JSON too."""
    from sharekeeper.app import run_node_agent  # noqa: PLC0415  # `status` needs none of it

    run_node_agent(config_path, json_logs=as_json)


@command.command()
@config_option
@json_option
def status(*, config_path: Path, as_json: bool) -> None:
    """Show what the running node agent says about itself."""
    found = status_of("node agent", load_node_agent(config_path).health_address)
    show("node_agent_status", found, status_lines(found), as_json=as_json)
