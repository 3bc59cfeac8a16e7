"""A tree of 2,000 files sent as the browser sends it: new, unchanged, one file changed (G17)."""

import hashlib
import io
import json
import os
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.bench import Bench
from bench.measure import Line, alternate, median_of
from bench.site import Site

FILES, SIZE = 2000, 8192
BATCH_FILES = 500


def measure(bench: Bench) -> Iterator[Line]:
    site = bench.site
    folder = bench.folder / "tree"
    sent: list[int] = []

    def first() -> float:
        _make_tree(folder)
        return _send(site, folder, sent)

    def floor() -> float:
        return _zip_unzip_hash(folder)

    ours, least = alternate(first, floor, 3)
    yield Line(
        f"{FILES:,} new files of 8 KiB sent", ours, "s", 3, "zip+unzip+hash", least, of_ratio=True
    )
    sent.clear()
    yield Line("the same tree again", median_of(lambda: _send(site, folder, sent), 5), "s", 1)
    yield Line("bytes of files sent for it", max(sent), "bytes", 0)
    sent.clear()

    def changed() -> float:
        (folder / "part-7" / "file-77.py").write_bytes(os.urandom(SIZE))
        return _send(site, folder, sent)

    yield Line("one file of it changed", median_of(changed, 5), "s", 1.2)
    yield Line("bytes of files sent for it", max(sent), "bytes", SIZE)


def _make_tree(folder: Path) -> None:
    for number in range(FILES):
        file = folder / f"part-{number % 10}" / f"file-{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(SIZE))


def _send(site: Site, folder: Path, sent: list[int]) -> float:
    """Send a directory: the plan, the digests, then only what is missing; note its bytes."""
    began = time.perf_counter()
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {str(path.relative_to(folder)): path for path in paths}
    sizes = [{"path": name, "size": path.stat().st_size} for name, path in names.items()]
    kept = site.post("/uploads/plan", {"files": sizes})["kept"]
    files: list[dict[str, Any]] = [
        file | {"digest": hashlib.sha256(names[file["path"]].read_bytes()).hexdigest()}
        for file in kept
    ]
    wanted = set(site.post("/uploads/missing", {"files": files})["missing"])
    lacking = [file for file in files if file["digest"] in wanted]
    count = 0
    for start in range(0, len(lacking), BATCH_FILES):
        batch = lacking[start : start + BATCH_FILES]
        index = json.dumps(batch).encode()
        content = b"".join(names[file["path"]].read_bytes() for file in batch)
        body = struct.pack(">I", len(index)) + index + content
        site.call("POST", "/uploads/blobs", body, "application/octet-stream")
        count += len(content)
    site.post("/uploads/snapshots", {"files": files})
    sent.append(count)
    return time.perf_counter() - began


def _zip_unzip_hash(folder: Path) -> float:
    """What any upload as one archive has to do."""
    began = time.perf_counter()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    out = folder.with_name("unzipped")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(out)
    for path in out.rglob("*"):
        if path.is_file():
            hashlib.sha256(path.read_bytes()).hexdigest()
    return time.perf_counter() - began
