"""Ports for servers that a test starts itself, chosen where the kernel takes none for outgoing connections."""

import contextlib
import random
import socket

BELOW_EPHEMERAL = range(20_000, 32_000)
"""Linux hands out 32768 and up: a port that was free there a moment ago may be an outgoing connection's now."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at `host`, drawn at random so that tests side by side do not meet."""
    for port in random.sample(BELOW_EPHEMERAL, 100):
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port
    raise AssertionError(f"no free port at {host}")
