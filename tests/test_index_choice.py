"""Which backend the settings choose: a server where QDRANT_URL names one, the embedded index otherwise."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from cirray.config.indexing import IndexAccess
from cirray.errors import IndexUnavailableError, SearchIndexError
from cirray.index import open_backend, retry
from cirray.index.edge import EdgeBackend


def test_without_a_server_the_backend_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QDRANT_URL", raising=False)
    backend = open_backend(IndexAccess(path=str(tmp_path / "here")))
    assert isinstance(backend, EdgeBackend)
    assert backend.where == str(tmp_path / "here")
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path))
    monkeypatch.setenv("QDRANT_URL", "")
    assert open_backend(IndexAccess()).where == str(tmp_path / "index")


def test_a_server_that_cannot_be_reached_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    with pytest.raises(IndexUnavailableError, match="check that Qdrant runs there and that QDRANT_URL is right"):
        open_backend(IndexAccess(path=str(tmp_path / "here"), timeout_s=1.0))
    assert not (tmp_path / "here").exists()
    gc.collect()


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[::1", "ftp://127.0.0.1:6333"])
def test_an_address_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", url)
    with pytest.raises(SearchIndexError, match=r"QDRANT_URL is .*set it like http://localhost:6333"):
        open_backend(IndexAccess())
