"""A run whose data, output and store are in an object store: another machine takes it up where it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

import cirray
from tests.support.object_store import environment as reaches
from tests.support.object_store import upload
from tests.support.runs import REPOSITORY, job, kill_driver, options, small_settings
from tests.support.small_catalog import write_small_catalog

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What reaches an S3 server with one bucket."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = reaches(f"http://{host}:{port}")
    boto3.client(
        "s3", endpoint_url=found["AWS_ENDPOINT_URL"], aws_access_key_id="test", aws_secret_access_key="test"
    ).create_bucket(Bucket="runs")
    try:
        yield {**{key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}, **found}
    finally:
        server.stop()


def metrics(backend: Path) -> list[dict[str, object]]:
    """The rows of a run's mirror on one machine."""
    files = list((backend / "mirrors").glob("*/metrics.jsonl"))
    lines = files[0].read_text(encoding="utf-8").splitlines() if files else []
    return [json.loads(line) for line in lines]


def test_another_machine_goes_on(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    upload(write_small_catalog(tmp_path / "data"), "s3://runs/data")
    places = {"data.root": "s3://runs/data", "store": "s3://runs/store", "output": "s3://runs/one"}
    settings = {**small_settings(tmp_path / "data", tmp_path), **places}
    command = [sys.executable, str(REPOSITORY / "jobs" / "train.py"), *options(settings)]
    first = {**environment, "CIRRAY_HOME": str(tmp_path / "first")}
    with job(command, tmp_path / "log", first) as process:
        end = time.monotonic() + 300
        while not any(row["stage"] == "stage2" for row in metrics(tmp_path / "first")):
            assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
            assert time.monotonic() < end
            time.sleep(0.05)
        kill_driver(process)

    second = {**environment, "CIRRAY_HOME": str(tmp_path / "second")}
    done = subprocess.run(command, env=second, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "image-title pre-training" not in done.stderr, "the stages that were done are not run again"
    assert "checking pictures" not in done.stderr, "what is known of pictures is known everywhere"
    rows = metrics(tmp_path / "second")
    for stage, epochs in (("stage0", 12), ("stage1", 8), ("stage2", 16)):
        found = [row["epoch"] for row in rows if row["stage"] == stage]
        assert found == sorted(set(found))
        assert found[-1] == epochs
    monkeypatch.setenv("CIRRAY_HOME", str(tmp_path / "third"))
    assert cirray.load("s3://runs/one/bundle").encode_text("red").shape == (1, 32)
