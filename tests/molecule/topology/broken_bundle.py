"""Makes of a bundle a version that ends as soon as it starts.

python tests/molecule/topology/broken_bundle.py BUNDLE BROKEN
"""

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

_MAIN: Final = "sharekeeper/cli/main.py"
_BROKEN: Final = b'raise SystemExit("this version does not start")\n'


def broken_wheel(wheel: bytes) -> bytes:
    """The wheel with a program that does not start."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel)) as whole, zipfile.ZipFile(content, "w") as broken:
        for member in whole.infolist():
            broken.writestr(member, _BROKEN if member.filename == _MAIN else whole.read(member))
    return content.getvalue()


def break_bundle(bundle: Path, target: Path) -> None:
    """The bundle at `target` installs as `bundle` does, by its hashes, and does not start."""
    with tarfile.open(bundle) as whole:
        files = {member.name: whole.extractfile(member).read() for member in whole.getmembers()}
    (name,) = (name for name in files if name.startswith("wheels/sharekeeper-"))
    wheel, broken = files[name], broken_wheel(files[name])
    before, after = (hashlib.sha256(content).hexdigest().encode() for content in (wheel, broken))
    files |= {name: broken, "requirements.txt": files["requirements.txt"].replace(before, after)}
    with tarfile.open(target, "w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    break_bundle(Path(sys.argv[1]), Path(sys.argv[2]))
