"""Tells a file that torch.save wrote from everything else, before anything in it is unpickled.

Only the zip layout (torch 1.6 and later; CLIP4Cir needs 1.7) is read: its entries' sizes are known beforehand, so a
file cannot grow in memory beyond MAX_BYTES. The older layout is a bare pickle, which allocates as much as it says.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from cirray.errors import CheckpointError
from cirray.models.bundle_manifest import MANIFEST

# CLIP's largest published model (RN50x64) has 2.5 GB in single precision, the paper's Combiner 0.25 GB.
MAX_BYTES = 8 * 2**30


def check_archive(path: Path) -> None:
    """Returns if `path` is a torch.save archive of bounded size.

    Raises:
        CheckpointError: it is something else; says what, and what to do.
    """
    found = _what_else(path)
    if found:
        raise CheckpointError(f"{path} {found}")


def _what_else(path: Path) -> str | None:
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return "is a bundle of cirray already: use it as it is, or turn it into checkpoints with export"
        return "is a folder: give the .pt file in it"
    if not path.is_file():
        return "does not exist"
    size = path.stat().st_size
    if size > MAX_BYTES:
        return f"has {size:,} bytes, more than any CLIP ({MAX_BYTES:,}): it was not opened"
    with path.open("rb") as stream:
        head = stream.read(512)
    return _zip_problem(path) if head.startswith(b"PK\x03\x04") else _named_by_its_head(head, size)


def _zip_problem(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "is a damaged archive (cut short while it was copied?): copy it again"
    names = {entry.filename.rpartition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        return (
            "is a TorchScript archive, such as OpenAI's own downloads: nothing was fine-tuned in it. Leave --clip out "
            "and name the model, --backbone.model RN50x4 --backbone.pretrained openai"
        )
    if "data.pkl" not in names:
        return "is a zip archive, but none that torch.save writes"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "is a compressed archive, which torch.save never writes: it was not opened"
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_BYTES:
        return f"unpacks to {unpacked:,} bytes, more than any CLIP ({MAX_BYTES:,}): it was not opened"
    return None


def _named_by_its_head(head: bytes, size: int) -> str:
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(b"\x80"):
        return (
            "is a bare pickle or a torch file from before version 1.6, which could run code or fill the memory when "
            "opened: where you trust it, load it and torch.save it again with a present torch"
        )
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < size:
        return (
            "is a safetensors file, and CLIP4Cir's checkpoints are torch.save files: open_clip weights are given to "
            "jobs/train.py as --backbone.weights"
        )
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: fetch it with git lfs pull"
    return f"is no torch file at all (it begins with {head[:16]!r})"
