"""Archives as the role expects them, for machines that cannot run the real ones.

The VMM among them reads its configuration, opens to its token only, and starts one process in place of a guest.
"""

import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path

VMM = r"""#!/usr/bin/python3
import http.server, pathlib, subprocess, sys, tomllib

settings = tomllib.loads(pathlib.Path(sys.argv[2]).read_text())
assert settings["auth"]["enabled"] and pathlib.Path(settings["supervisor"]["exe"]).exists()
if subprocess.run(["pgrep", "--full", "^qemu-system-test"]).returncode:
    subprocess.Popen(["bash", "-c", "exec -a qemu-system-test sleep 900"])

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization", "") in [f"Bearer {token}" for token in settings["auth"]["tokens"]]
        self.send_response(200 if known else 401)
        self.end_headers()

http.server.HTTPServer((settings["address"], settings["port"]), Page).serve_forever()
"""

ARCHIVES = {
    "vmm.tar": {"dstack-vmm": VMM, "supervisor": "#!/bin/sh\n"},
    "image.tar.gz": {"dstack-dev-0.5.9/ovmf.fd": "firmware", "dstack-dev-0.5.9/metadata.json": "{}"},
    "key-provider.tar": {"manifest.json": "[]"},
}


def archive(name, files):
    """The bytes of the archive; the same for the same files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, text in sorted(files.items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(text), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
    if name.endswith(".gz"):
        return gzip.compress(content.getvalue(), mtime=0)
    return content.getvalue()


def main():
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, files in ARCHIVES.items():
        content = archive(name, files)
        (target / name).write_bytes(content)
        (target / f"{name}.sha256").write_text(hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
