"""Ports for servers that a test starts itself, chosen where the kernel takes none for outgoing connections."""

import contextlib
import os
import random
import socket
from collections import deque

BELOW_EPHEMERAL = range(20_000, 32_000)
"""Linux hands out 32768 and up: a port that was free there a moment ago may be an outgoing connection's now."""
_WORKERS = 4
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_OWN = BELOW_EPHEMERAL[_WORKER::_WORKERS]
"""Tests side by side draw from ports of their own."""
_given: deque[int] = deque(maxlen=500)
"""A port that was given may be in use only later: it is not given again before so many others."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at `host`, and that no other test was told of lately."""
    for port in random.sample(_OWN, len(_OWN)):
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            _given.append(port)
            return port
    raise AssertionError(f"no free port at {host}")
