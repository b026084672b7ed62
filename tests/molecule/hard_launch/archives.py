"""What the machines of this scenario are made of: those of tee_host, with a guest image whose guests run.

python -m tests.molecule.hard_launch.archives DIRECTORY BUNDLE NEAR_NETWORK

The image has the stand-in for a guest (`guest_stand_in.py`) with the packages it imports, the seed of the stand-in for
Intel, and the address of the NEAR network. The root certificate and the seed are written beside the archives.
"""

import io
import secrets
import sys
import tarfile
import time
import zipfile
from pathlib import Path

from sharekeeper_devnet.tee.guest import GUEST_IMAGE
from sharekeeper_devnet.tee.pki import MockIntel
from sharekeeper_devnet.tee.rack import SEED_BYTES
from tests.molecule.tee_host.archives import ARCHIVES, write

GUEST = (Path(__file__).parent / "guest_stand_in.py").read_text(encoding="utf-8")
CHAIN_ALONE = "wheels/wasmtime-"


def packages(bundle):
    """Every file of the bundle's wheels by its path."""
    with tarfile.open(bundle) as tar:
        wheels = [
            tar.extractfile(name).read() for name in tar.getnames() if name.endswith(".whl") and CHAIN_ALONE not in name
        ]
    files = {}
    for wheel in wheels:
        with zipfile.ZipFile(io.BytesIO(wheel)) as opened:
            files |= {name: opened.read(name) for name in opened.namelist() if not name.endswith("/")}
    return files


def main():
    target, bundle, near_network = sys.argv[1:]
    seed = secrets.token_bytes(SEED_BYTES)
    image = {"ovmf.fd": "firmware", "qemu-system-test": GUEST, "seed": seed, "near_network": near_network}
    image |= {f"site/{path}": content for path, content in packages(bundle).items()}
    write(ARCHIVES | {"image.tar.gz": {f"{GUEST_IMAGE}/{path}": file for path, file in image.items()}}, Path(target))
    Path(target, "root-ca.der").write_bytes(MockIntel.create(int(time.time()), seed=seed).root_ca)
    Path(target, "seed").write_bytes(seed)


if __name__ == "__main__":
    main()
