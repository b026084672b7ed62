"""Archives as the role expects them, for machines that cannot run the real ones.

The VMM among them is the stand-in beside this file.
"""

import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path

VMM = (Path(__file__).parent / "vmm_stand_in.py").read_text(encoding="utf-8")

ARCHIVES = {
    "vmm.tar": {"dstack-vmm": VMM, "supervisor": "#!/bin/sh\n"},
    "image.tar.gz": {"dstack-dev-0.5.9/ovmf.fd": "firmware", "dstack-dev-0.5.9/metadata.json": "{}"},
    "key-provider.tar": {"manifest.json": "[]"},
}


def archive(name, files):
    """The bytes of the archive, of files that are text or bytes; the same for the same files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, file in sorted(files.items()):
            data = file.encode() if isinstance(file, str) else file
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    if name.endswith(".gz"):
        return gzip.compress(content.getvalue(), compresslevel=1, mtime=0)
    return content.getvalue()


def write(archives, target):
    """Each archive, and its hash beside it."""
    target.mkdir(parents=True, exist_ok=True)
    for name, files in archives.items():
        content = archive(name, files)
        (target / name).write_bytes(content)
        (target / f"{name}.sha256").write_text(hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    write(ARCHIVES, Path(sys.argv[1]))
