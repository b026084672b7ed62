"""The operator's command line to which the root of a TEE host stand-in is Intel's: ROOT_FILE, then its arguments."""

import functools
import sys
from pathlib import Path

from sharekeeper.attestation import verifier
from sharekeeper.cli.main import root
from sharekeeper.cli.outcome import run

if __name__ == "__main__":
    root_ca = Path(sys.argv[1]).read_bytes()
    verifier.explain_evidence = functools.partial(verifier.explain_evidence, root_ca=root_ca)
    sys.exit(run(root, "sharekeeper", sys.argv[2:]))
