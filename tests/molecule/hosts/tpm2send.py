#!/usr/bin/python3
"""Runs inside a host that has a TPM2 of its own: `tpm2send HEX...` sends it one command, and wants it to succeed."""

import socket
import sys
import time
from typing import Final

_ADDRESS: Final = ("127.0.0.1", 2321)
_SECONDS: Final = 10


def main(command: bytes) -> None:
    """Waits for swtpm to begin. Raises `SystemExit` with the answer unless it is TPM_RC_SUCCESS."""
    end = time.monotonic() + _SECONDS
    while True:
        try:
            with socket.create_connection(_ADDRESS, _SECONDS) as tpm2:
                tpm2.sendall(command)
                answer = tpm2.recv(4096)
            break
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise SystemExit("there is no TPM2: is swtpm.service started?") from None
            time.sleep(0.05)
    if answer[6:10] != bytes(4):
        raise SystemExit(f"the TPM2 answered {answer.hex()}")


if __name__ == "__main__":
    main(bytes.fromhex(" ".join(sys.argv[1:])))
