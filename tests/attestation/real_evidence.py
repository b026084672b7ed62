"""A real node's evidence (near/mpc, vectors/tdx), at the time its collateral is valid; absent on most machines."""

import json
from pathlib import Path

import pytest

from sharekeeper.attestation.policy import AttestationPolicy, Listed
from sharekeeper.cli.attestation_input import read_shown
from sharekeeper.domain.attestation import AllowedCode, CodeHash, Measurements
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "tdx"
NOW_S = 1_786_622_400
COMPOSE_FILE = Sha256Hex("615b9ee0e77ea5c3f914f7539490feae04f7a679055435f440e95699f3fb4d28")
KEY_PROVIDER_EVENT = "61ce56b6be756a9e45af7715b13c15040a4e6090cc740be24e2cc02e33b4fb53ae4e3c945c9af83e2a26c6d5efa414a8"
needs_vectors = pytest.mark.skipif(not VECTORS.exists(), reason="the vectors of a real TDX quote are not here")


def tcb_info():
    return json.loads((VECTORS / "tcb_info.json").read_text())


def image():
    return CodeHash((VECTORS / "mpc_image_digest.txt").read_text().strip())


def measurements():
    info = tcb_info()
    names = ("mrtd", "rtmr0", "rtmr1", "rtmr2")
    return Measurements(**{name: info[name] for name in names}, key_provider_event_digest=KEY_PROVIDER_EVENT)


def shown():
    return read_shown(VECTORS / "public_data.json")


def given():
    """Evidence and arguments that every check accepts."""
    found = shown()
    return found.evidence, {
        "role": Role.NODE,
        "report_data": found.report_data,
        "allowed": AllowedCode(
            node=frozenset({image()}), backup_service=frozenset(), measurements=frozenset({measurements()})
        ),
        "policy": AttestationPolicy(compose=Listed(compose_files=frozenset({COMPOSE_FILE}))),
        "now_s": NOW_S,
        "collateral": found.evidence.collateral,
    }


def policy_toml():
    entry = "".join(f'{name} = "{getattr(measurements(), name)}"\n' for name in Measurements.__slots__)
    return f'[compose]\nfiles = ["{COMPOSE_FILE}"]\n[allowed]\nnode = ["{image()}"]\n[[allowed.measurements]]\n{entry}'
