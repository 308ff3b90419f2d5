"""Checks that a file was written by torch.save, before anything in it is unpickled.

Only the zip format (torch 1.6 and later; CLIP4Cir needs 1.7) is accepted: it states the size of its entries, so that a
file cannot use more than MAX_BYTES of memory. The older format is a bare pickle, whose allocations are unbounded.
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
    """Checks that `path` is a torch.save archive of at most MAX_BYTES.

    Raises:
        CheckpointError: it is not; the message names the kind of file and the remedy.
    """
    problem = _problem(path)
    if problem:
        raise CheckpointError(f"{path} {problem}")


def _problem(path: Path) -> str | None:
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return "is already a cirray bundle: use it directly, or convert it to checkpoints with export"
        return "is a folder: give the .pt file in it"
    if not path.is_file():
        return "does not exist"
    size = path.stat().st_size
    if size > MAX_BYTES:
        return f"has {size:,} bytes, more than the limit of {MAX_BYTES:,}: it was not opened"
    with path.open("rb") as stream:
        head = stream.read(512)
    return _zip_problem(path) if head.startswith(b"PK\x03\x04") else _problem_of_header(head, size)


def _zip_problem(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "is a damaged archive (an incomplete copy?): copy it again"
    names = {entry.filename.rpartition("/")[2] for entry in entries}
    if "constants.pkl" in names:
        return (
            "is a TorchScript archive, such as OpenAI's published models, not a fine-tuned checkpoint. Omit --clip and "
            "name the model, --backbone.model RN50x4 --backbone.pretrained openai, or give the file as its weights, "
            "--backbone.model RN50x4-quickgelu --backbone.weights FILE"
        )
    if "data.pkl" not in names:
        return "is a zip archive, but was not written by torch.save"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "is a compressed archive, which torch.save never writes: it was not opened"
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_BYTES:
        return f"unpacks to {unpacked:,} bytes, more than the limit of {MAX_BYTES:,}: it was not opened"
    return None


def _problem_of_header(head: bytes, size: int) -> str:
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(b"\x80"):
        return (
            "is a bare pickle or was saved by torch before version 1.6; opening it could run code or exhaust memory: "
            "if you trust it, load it and torch.save it again with a current torch"
        )
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < size:
        return (
            "is a safetensors file, and CLIP4Cir's checkpoints are torch.save files: jobs/bundle.py makes a bundle "
            "of open_clip weights: --backbone.model NAME --backbone.weights FILE"
        )
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: fetch it with git lfs pull"
    return f"is not a torch file (it begins with {head[:16]!r})"
