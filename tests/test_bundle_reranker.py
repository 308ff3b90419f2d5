"""The reranker of a bundle: loading gives the trained one, none, or an error with its cause."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import cirray
from cirray.config.registry import RERANKERS
from cirray.errors import BundleError
from cirray.models.bundle_manifest import RERANKER, read_bundle
from cirray.models.bundle_reranker import load_reranker, required_reranker
from tests.support.bundles import random_reranker, write_bundle
from tests.test_reranking import inputs


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", reranker="attention")


def refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        cirray.load(folder)


@pytest.mark.parametrize("function", RERANKERS)
def test_the_loaded_reranker_is_the_trained_one(function: str, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", reranker=function)
    found, expected = cirray.load(folder).reranker, random_reranker(32, function).reranker.eval()
    assert found is not None
    torch.testing.assert_close(found.score(*inputs(dim=32)), expected.score(*inputs(dim=32)))
    assert not found.training
    assert read_bundle(folder)["reranker"] == random_reranker(32, function).settings.model_dump()


def test_a_bundle_without_one(tmp_path: Path) -> None:
    """As all bundles of earlier versions."""
    folder = write_bundle(tmp_path / "bundle")
    assert cirray.load(folder).reranker is None
    assert "reranker" not in read_bundle(folder) and not (folder / RERANKER).exists()
    assert load_reranker(folder, read_bundle(folder)) is None
    with pytest.raises(BundleError, match=r"has no reranker: train one with --stage3\.enabled true"):
        required_reranker(folder, read_bundle(folder))


def test_a_replaced_bundle_keeps_no_reranker_of_the_one_before(saved: Path) -> None:
    write_bundle(saved)
    assert not (saved / RERANKER).exists()
    assert cirray.load(saved).reranker is None


def test_missing_weights(saved: Path) -> None:
    (saved / RERANKER).unlink()
    refused(saved, r"reranker\.safetensors is missing, but model\.json names a reranker: copy the bundle again")


def test_weights_of_another_reranker(saved: Path) -> None:
    save_file(random_reranker(32, "artemis").reranker.state_dict(), saved / RERANKER)
    refused(saved, r"reranker\.safetensors does not match model\.json")


@pytest.mark.parametrize("size", [0, 50, 3000])
def test_damaged_weights(size: int, saved: Path) -> None:
    path = saved / RERANKER
    path.write_bytes(path.read_bytes()[:size])
    refused(saved, r"reranker\.safetensors does not match model\.json")
