"""Downloads that are killed, repeated, or run beside each other: every picture is there and arrives once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cirray.config.catalog import CatalogSettings, DownloadSettings
from cirray.data.catalog import Catalog, Entry, WebPicture, with_local_pictures
from cirray.data.downloads import Download, download_pictures
from tests.support.picture_server import QUICK, PictureServer, pictures, send

DOWNLOAD = """
import json, sys
from pathlib import Path
from cirray.config.catalog import DownloadSettings
from cirray.data.downloads import download_pictures
folder, settings, *urls = sys.argv[1:]
found = download_pictures(urls, Path(folder), DownloadSettings(**json.loads(settings)), allow_private=True)
print(json.dumps([len(found.files), len(found.problems), found.fetched]))
"""


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with PictureServer().running() as started:
        yield started


def get(server: PictureServer, folder: Path, *names: str, **settings: Any) -> Download:
    urls = [f"{server.url}/{name}" for name in names]
    return download_pictures(urls, folder, DownloadSettings(**{**QUICK, **settings}), allow_private=True)


def start(server: PictureServer, folder: Path, *names: str) -> subprocess.Popen[str]:
    """Downloads in a process of its own."""
    quick = json.dumps(QUICK)
    command = [sys.executable, "-c", DOWNLOAD, str(folder), quick, *(f"{server.url}/{name}" for name in names)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def result(process: subprocess.Popen[str]) -> list[int]:
    """Returns how many files and problems there are, and how many pictures were fetched."""
    output, _ = process.communicate(timeout=60)
    found: list[int] = json.loads(output)
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
    assert process.returncode == -9, "it was killed on the way"


class Faults:
    """Fails one request in twenty, in all the ways that a request can fail. Counts the complete bodies by path."""

    def __init__(self) -> None:
        self.bodies: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def answer(self, handler: BaseHTTPRequestHandler, number: int) -> None:
        chance = random.Random(f"3 {handler.path} {number}")
        if chance.random() >= 0.05:
            send(handler, number)
            self.bodies[handler.path.lstrip("/")] += 1
            return
        kind = chance.choice(["500", "503", "429", "closed", "cut short"])
        self.failures[kind] += 1
        handler.close_connection = not kind.isdigit()
        if kind.isdigit():
            send(handler, number, int(kind), Retry_After="0")
        elif kind == "cut short":
            send(handler, number, Content_Length="1000")


def test_a_kill_costs_nothing_twice(server, tmp_path):
    good, gone, faults = [str(n) for n in range(300)], ["gone/1", "gone/2"], Faults()
    server.answers |= dict.fromkeys(good, faults.answer) | dict.fromkeys(gone, partial(send, status=404))
    first = start(server, tmp_path, *good, *gone)
    wait_for(lambda: len(faults.bodies) >= 150)
    kill(first)
    files, problems, fetched = result(start(server, tmp_path, *good, *gone))
    assert (files, problems) == (300, 2)
    assert 0 < fetched < 200
    assert sorted(path.read_text() for path in pictures(tmp_path)) == sorted(good)
    assert len(faults.failures) == 5, "every kind of failure occurred"
    # What was on its way when the kill came is served again: at most one a connection.
    assert sum((faults.bodies - Counter(good)).values()) <= DownloadSettings().connections
    assert max(faults.bodies.values()) <= 2
    server.requests.clear()
    assert get(server, tmp_path, *good).fetched == 0
    assert not server.requests


def test_what_a_kill_left_half_written_is_deleted(server, tmp_path):
    goes_on = threading.Event()

    def stops(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, number, Content_Length="100000")
        handler.wfile.write(bytes(50_000))
        goes_on.wait(60)
        handler.close_connection = True

    server.answers["a"] = stops
    first = start(server, tmp_path, "a")
    wait_for(lambda: len(pictures(tmp_path)) == 1)
    kill(first)
    goes_on.set()
    assert len(pictures(tmp_path)) == 1, "the kill came in the middle of a picture"
    get(server, tmp_path, "b")
    assert [path.read_text() for path in pictures(tmp_path)] == ["b"]


def test_two_jobs_do_not_fetch_the_same_pictures(server, tmp_path, capsys):
    names = [str(n) for n in range(20)]

    def slow(handler: BaseHTTPRequestHandler, number: int) -> None:
        time.sleep(0.4)
        send(handler, number)

    server.answers |= dict.fromkeys(names, slow)
    other = start(server, tmp_path, *names)
    wait_for(lambda: len(server.requests) > 0)
    assert get(server, tmp_path, *names).fetched == 0
    assert "another job downloads pictures" in capsys.readouterr().err
    assert result(other) == [20, 0, 20]
    assert server.requests == Counter(names)


def test_a_journal_that_was_cut_short_goes_on(server, tmp_path):
    get(server, tmp_path, "a")
    with (tmp_path / "downloads.jsonl").open("a") as journal:
        journal.write('{"url": "http://')
    assert get(server, tmp_path, "a", "b").fetched == 1
    assert get(server, tmp_path, "a", "b").fetched == 0
    assert server.requests == {"a": 1, "b": 1}


def test_the_journal_does_not_grow_without_end(server, tmp_path):
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, number, 200 if number == 1 else 304, ETag='"1"')

    names = [str(n) for n in range(10)]
    server.answers |= dict.fromkeys(names, answer)
    for _ in range(8):
        get(server, tmp_path, *names, max_age_h=0.0)
        assert (tmp_path / "downloads.jsonl").read_text().count("\n") <= 30
    (tmp_path / "downloads.jsonl").write_text((tmp_path / "downloads.jsonl").read_text() * 3)
    get(server, tmp_path, *names)
    assert (tmp_path / "downloads.jsonl").read_text().count("\n") == 10
    found = get(server, tmp_path, *names)
    assert (found.fetched, found.confirmed) == (0, 0), "the last line of each picture was kept"
    assert [path.read_text() for path in found.files.values()] == names


@pytest.mark.parametrize("status", [503, 404])
def test_a_picture_of_an_earlier_run_is_used_only_if_the_server_fails(server, tmp_path, status):
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, number, 200 if number == 1 else status)

    server.answers["a"] = answer
    first = get(server, tmp_path, "a")
    again = get(server, tmp_path, "a", max_age_h=0.0)
    if status == 503:
        assert (again.files, again.unconfirmed, again.confirmed) == (first.files, 1, 0)
    else:
        assert [str(problem) for problem in again.problems] == [f"{server.url}/a: HTTP 404"]


def test_a_resumed_job_says_what_is_there(server, tmp_path, capsys):
    get(server, tmp_path, "a", "b")
    assert "0 of 2 pictures are in" in capsys.readouterr().err
    get(server, tmp_path, "a", "b", "c")
    shown = capsys.readouterr().err
    assert "2 of 3 pictures are in" in shown
    assert "asking for the other 1\n  at most 10,000 a second from one host\n" in shown


def test_pictures_that_are_missing_are_listed(server, tmp_path, capsys):
    server.answers |= {f"gone/{n}": partial(send, status=404) for n in range(25)}
    names = [*(f"gone/{n}" for n in range(25)), "good"]
    entries = [Entry(name, (WebPicture(f"{server.url}/{name}"),), "", {}, f"feed:{n}") for n, name in enumerate(names)]
    settings = CatalogSettings(allow_private=True, download=DownloadSettings(**QUICK, folder=str(tmp_path)))
    catalog = with_local_pictures(Catalog(entries, []), settings)
    assert [entry.id for entry in catalog.entries] == ["good"]
    assert len(catalog.problems) == 25
    assert str(catalog.problems[3]) == f"feed:3: image {server.url}/gone/3 HTTP 404"
    shown = capsys.readouterr().err
    assert "25 of 26 pictures could not be downloaded and are left out; run the same command again to retry:\n" in shown
    assert shown.count(": HTTP 404\n") == 20
    assert "\n  and 5 more\n" in shown
