"""An object store for tests: moto's S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest


@contextmanager
def new_bucket(server: str, folder: Path) -> Iterator[str]:
    """Yields the URI of a new bucket, with the environment variables to reach it set and mirrors below `folder`."""
    name = "-".join(folder.parts[-2:]).replace("_", "-").lower()[-60:].strip("-")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment(server).items():
            patch.setenv(variable, value)
        patch.setenv("CIRRAY_HOME", str(folder / "home"))
        boto3.client("s3").create_bucket(Bucket=name)
        yield f"s3://{name}"


def environment(server: str) -> dict[str, str]:
    """Returns the environment variables to reach the server."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
    }


def upload(folder: Path, uri: str) -> None:
    """Copies a folder to a URI with boto3, independently of the code under test."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            client.upload_file(str(path), bucket, f"{prefix}/{name}" if prefix else name)
