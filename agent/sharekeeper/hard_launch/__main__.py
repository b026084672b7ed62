"""What the image of the hard launch starts: `python -m sharekeeper.hard_launch`."""

import argparse
import sys
from pathlib import Path

from sharekeeper.attestation.compose_file import ADDRESSES_PATH, MEASURED_PATH
from sharekeeper.errors import SharekeeperError
from sharekeeper.hard_launch.app import run


def main() -> int:
    """The daemon of the measured role has run; the exit status is that of docs/cli.md."""
    parser = argparse.ArgumentParser(
        prog="python -m sharekeeper.hard_launch",
        description="Run the daemon that the measured configuration names, inside a TEE that attests it.",
    )
    parser.add_argument("--measured", type=Path, default=Path(MEASURED_PATH), help="the measured configuration")
    parser.add_argument("--addresses", type=Path, default=Path(ADDRESSES_PATH), help="the addresses, not measured")
    options = parser.parse_args()
    try:
        run(options.measured, options.addresses)
    except SharekeeperError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
