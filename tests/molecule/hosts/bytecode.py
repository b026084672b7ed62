"""On a host only: keep the bytecode of what Python imports from an archive, until the next boot.

Ansible sends each module as an archive and Python compiles it anew for every task, a third of what a task costs.
The image imports this file at every start of its own Python; a role's virtual environment does not see it.
"""

import hashlib
import marshal
import os
import zipimport
from pathlib import Path
from types import CodeType

_KEPT = Path("/run/bytecode")
_compile = zipimport._compile_source  # type: ignore[attr-defined]


def _kept(path: str, source: bytes) -> CodeType:
    file = _KEPT / hashlib.sha256(source).hexdigest()
    try:
        found: CodeType = marshal.loads(file.read_bytes())
    except OSError:
        found = _compile(path, source)
        _keep(file, found)
    return found


def _keep(file: Path, code: CodeType) -> None:
    try:
        _KEPT.mkdir(mode=0o700, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_bytes(marshal.dumps(code))
        draft.rename(file)
    except OSError:
        return  # a user who may not write here


zipimport._compile_source = _kept  # type: ignore[attr-defined]
