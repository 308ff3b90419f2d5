"""The output of a start.

OUTPUT/
├── config.yaml     the complete configuration
├── triplets/       triplets that were made from the feed
├── published/      bundle of the named weights, without training; only if weights are named
├── training/       the training run
├── bundle          link to the newest bundle; the service takes over a new one while it runs
├── index/          the index
├── store/          the feature store
└── start.json      report: the steps and their minutes
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cirray.models.bundle_manifest import MANIFEST
from cirray.training.run_dir import BUNDLE


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below the output folder. Those of index and store are fields of the configuration."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def report(self) -> Path:
        return self.root / "start.json"

    @property
    def triplets(self) -> Path:
        return self.root / "triplets"

    @property
    def published(self) -> Path:
        return self.root / "published"

    @property
    def training(self) -> Path:
        return self.root / "training"

    @property
    def trained(self) -> Path:
        return self.training / BUNDLE

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    def use_bundle(self, folder: Path) -> None:
        """Points the link `bundle` to a bundle below the output folder, atomically."""
        temporary = self.root / f".bundle.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.relative_to(self.root), target_is_directory=True)
        temporary.replace(self.bundle)


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a complete bundle."""
    return (folder / MANIFEST).is_file()
