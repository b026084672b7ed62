# ruff: noqa: INP001  # beside the build script
"""Layers and OCI archives whose bytes depend on nothing but what is in them: no time, user, order or place."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

EPOCH: Final = 315532800
"""Date of every file: the first moment a zip file can name."""
_CREATED: Final = "1980-01-01T00:00:00Z"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One file of an archive."""

    path: Path
    digest: str
    size: int

    def described(self, media_type: str) -> dict[str, Any]:
        """How others refer to it."""
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What an image starts."""

    architecture: str
    entrypoint: tuple[str, ...]
    environment: tuple[str, ...]


def write_layer(target: Path, files: Mapping[str, bytes]) -> None:
    """A layer of `files` by path, and the directories above them."""
    directories = {str(above) for name in files for above in PurePosixPath(name).parents if above != PurePosixPath()}
    with target.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(directories | {*files}):
            member = tarfile.TarInfo(name)
            data = files.get(name)
            member.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            member.size = len(data or b"")
            archive.addfile(_normal(member, 0o755 if data is None else 0o644), io.BytesIO(data or b""))


def normalize_layer(source: Path, target: Path, *, without: Iterable[str]) -> None:
    """The layer at `source` again, sorted and without times, users' names, and paths that begin with one of `without`."""
    left_out = tuple(without)
    with (
        tarfile.open(source) as archive,
        target.open("wb") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as normal,
    ):
        for member in sorted(archive.getmembers(), key=lambda one: one.name):
            name = member.name.removeprefix("./")
            if name in {"", "."} or name.startswith(left_out) or name.endswith(".pyc"):
                continue
            content = archive.extractfile(member) if member.isreg() else None
            kept = _normal(member, member.mode)
            kept.name = name
            kept.linkname = member.linkname.removeprefix("./") if member.islnk() else member.linkname
            normal.addfile(kept, content)


def _normal(member: tarfile.TarInfo, mode: int) -> tarfile.TarInfo:
    member.mtime, member.mode = EPOCH, mode
    member.uname = member.gname = ""
    member.pax_headers = {}
    return member


def write_image(target: Path, layers: Iterable[Path], program: Program) -> str:
    """An OCI archive at `target`; returns the image's digest, `sha256:` and 64 hex digits."""
    work = target.parent
    blobs = [_blob(layer) for layer in layers]
    config = _json_blob(
        work / "config.json",
        {
            "architecture": program.architecture,
            "os": "linux",
            "created": _CREATED,
            "config": {"Entrypoint": list(program.entrypoint), "Env": list(program.environment), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in blobs]},
        },
    )
    manifest = _json_blob(
        work / "manifest.json",
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": config.described(_CONFIG),
            "layers": [blob.described(_LAYER) for blob in blobs],
        },
    )
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [manifest.described(_MANIFEST)]}
    with target.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content, size in _entries([*blobs, config, manifest], index):
            member = tarfile.TarInfo(name)
            member.size = size
            with content:
                archive.addfile(_normal(member, 0o644), content)
    return manifest.digest


def _entries(blobs: Iterable[Blob], index: Mapping[str, Any]) -> Iterator[tuple[str, IO[bytes], int]]:
    for blob in sorted(blobs, key=lambda one: one.digest):
        yield f"blobs/{blob.digest.replace(':', '/')}", blob.path.open("rb"), blob.size
    for name, value in (("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        data = _json(value)
        yield name, io.BytesIO(data), len(data)


def _blob(path: Path) -> Blob:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return Blob(path=path, digest=f"sha256:{digest}", size=path.stat().st_size)


def _json_blob(path: Path, value: Mapping[str, Any]) -> Blob:
    path.write_bytes(_json(value))
    return _blob(path)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
