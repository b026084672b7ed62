"""A process that is killed at a chosen system call, again and again: run as `python -m tests.crash.victim`.

Each line of standard input, `<scenario> <call number> <directory>`, is done by a fork of this process, which
kills itself with SIGKILL before that call. The answer is one line: the fork's wait status.
"""

import os
import signal
import sys
import traceback
from pathlib import Path

from tests.crash.scenarios import SCENARIOS
from tests.unit.vault_values import Counter, SteppedDisk


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    for line in sys.stdin:
        name, at, root = line.rstrip("\n").split(" ", 2)
        child = os.fork()
        if child == 0:
            try:
                SCENARIOS[name].act(Path(root), SteppedDisk(Counter(int(at), die)))
            except BaseException:  # noqa: BLE001  # the fork must not return to the loop
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
