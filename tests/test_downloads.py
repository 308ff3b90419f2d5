"""Downloads against a real server that is slow, redirects, lies about its length, is busy, or fails."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cirray.config.catalog import DownloadSettings
from cirray.data.downloads import Download, download_pictures
from cirray.data.downloads.public_network import is_public
from cirray.errors import LocationError
from tests.support.picture_server import QUICK, PictureServer, fail_first, pictures, send


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with PictureServer().running() as started:
        yield started


def get(server: PictureServer, folder: Path, *names: str, private: bool = True, **settings: Any) -> Download:
    urls = [name if "://" in name else f"{server.url}/{name}" for name in names]
    return download_pictures(urls, folder, DownloadSettings(**{**QUICK, **settings}), allow_private=private)


def problem(found: Download) -> str:
    (one,) = found.problems
    return one.what


def test_pictures_are_kept_by_their_content(server, tmp_path):
    found = get(server, tmp_path, "a.jpg", "b.jpg?v=1&w=2")
    assert [path.read_text() for path in found.files.values()] == ["a.jpg", "b.jpg?v=1&w=2"]
    assert (found.problems, found.fetched) == ([], 2)
    assert server.seen[0]["user-agent"].startswith("cirray/")
    assert server.seen[0]["accept-encoding"] == "identity"


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    first = get(server, tmp_path, "a", "b")
    again = get(server, tmp_path, "a", "b", "c")
    assert (again.fetched, server.requests) == (1, {"a": 1, "b": 1, "c": 1})
    assert again.files.items() >= first.files.items()


def test_an_old_picture_is_confirmed_by_its_etag(server, tmp_path):
    def answer(handler: BaseHTTPRequestHandler, number: int) -> None:
        unchanged = handler.headers.get("If-None-Match") == '"1"'
        send(handler, number, 304 if unchanged else 200, ETag='"1"')

    server.answers["a"] = answer
    get(server, tmp_path, "a")
    again = get(server, tmp_path, "a", max_age_h=0.0)
    assert (again.fetched, again.confirmed, server.requests["a"]) == (0, 1, 2)
    next(iter(again.files.values())).unlink()
    assert get(server, tmp_path, "a").fetched == 1, "a file that was deleted is fetched, whatever the journal says"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server, tmp_path, status):
    server.answers["a"] = fail_first(2, status)
    assert get(server, tmp_path, "a").fetched == 1
    assert server.requests["a"] == 3


def test_a_server_that_says_when_is_not_asked_before(server, tmp_path):
    server.answers["a"] = fail_first(1, 429, Retry_After="1")
    get(server, tmp_path, "a")
    assert server.times[1] - server.times[0] >= 0.95


def test_requests_that_wait_their_turn_respect_a_pause_too(server, tmp_path):
    server.answers["a"] = fail_first(1, 429, Retry_After="1")
    assert get(server, tmp_path, "a", "b", "c", per_host_per_s=4.0).fetched == 3
    assert server.times[1] - server.times[0] >= 0.95, "b had its turn after 0.25 s, but the server said 1 s"


def test_the_wait_for_a_turn_is_not_part_of_the_time_limit(server, tmp_path):
    server.answers["a"] = fail_first(1, 429, Retry_After="1")
    assert get(server, tmp_path, "a", timeout_s=0.5).fetched == 1
    assert server.requests["a"] == 2, "the picture came in time, and was not thrown away"


def test_a_picture_that_never_comes_is_a_problem(server, tmp_path):
    server.answers |= {"gone": partial(send, status=404), "down": partial(send, status=503)}
    found = get(server, tmp_path, "gone", "down", "good", attempts=3)
    assert [(Path(p.where).name, p.what) for p in found.problems] == [("gone", "HTTP 404"), ("down", "HTTP 503")]
    assert server.requests == {"gone": 1, "down": 3, "good": 1}
    assert len(found.files) == 1


def test_redirects_are_followed_but_not_for_ever(server, tmp_path):
    server.answers["a"] = partial(send, status=302, Location="/b")
    assert [path.read_text() for path in get(server, tmp_path, "a").files.values()] == ["b"]
    server.answers["b"] = partial(send, status=302, Location="/a")
    assert problem(get(server, tmp_path / "other", "a")) == "redirects more than 5 times"


def test_a_host_that_is_down_is_given_up(server, tmp_path):
    names = [str(n) for n in range(200)]
    server.answers |= dict.fromkeys(names, partial(send, status=503))
    found = get(server, tmp_path, *names, attempts=3, connections=4, per_host_per_s=100.0, give_up_s=0.5)
    assert len(found.problems) == 200
    assert Counter(problem.what for problem in found.problems).keys() == {
        "HTTP 503",
        "is not asked for: 127.0.0.1 has failed for 0.5 s",
    }
    assert sum(server.requests.values()) < 100


def test_a_host_that_answers_now_and_then_is_not_given_up(server, tmp_path):
    server.answers["down"] = partial(send, status=503)
    found = get(server, tmp_path, "down", *map(str, range(40)), attempts=3, per_host_per_s=20.0, give_up_s=1.0)
    assert len(found.files) == 40


def test_addresses_are_encoded_as_browsers_do(server, tmp_path):
    found = get(server, tmp_path, "grün 1.jpg?farbe=blau grün", "a%20b[1].jpg#top")
    assert [path.read_text() for path in found.files.values()] == [
        "gr%C3%BCn%201.jpg?farbe=blau%20gr%C3%BCn",
        "a%20b[1].jpg",
    ]
    server.answers["moved"] = partial(send, status=302, Location="/grün".encode().decode("latin-1"))
    assert [path.read_text() for path in get(server, tmp_path, "moved").files.values()] == ["gr%C3%BCn"]
    assert "cannot be resolved" in problem(get(server, tmp_path, "http://bücher.invalid/1.jpg", attempts=1))


def test_an_etag_may_have_any_bytes(server, tmp_path):
    server.answers["a"] = partial(send, ETag='"grün"')
    get(server, tmp_path, "a")
    assert get(server, tmp_path, "a", max_age_h=0.0).fetched == 1
    assert server.seen[1]["if-none-match"] == '"grün"'


def test_private_addresses_are_refused(server, tmp_path):
    found = get(server, tmp_path, "a", server.url.replace("127.0.0.1", "localhost") + "/b", private=False)
    assert len(found.problems) == 2
    assert all("is not a public address: --catalog.allow-private" in p.what for p in found.problems)
    assert not server.requests


def test_a_redirect_to_a_private_address_is_refused(server, tmp_path, monkeypatch):
    """The first host counts as public here; where it leads to does not."""
    public = "127.0.0.1"
    monkeypatch.setattr("cirray.data.downloads.public_network.is_public", lambda address: address == public)
    server.answers["a"] = partial(send, status=302, Location=server.url.replace(public, "127.0.0.2") + "/b")
    assert "127.0.0.2, which is not a public address" in problem(get(server, tmp_path, "a", private=False))
    server.answers["a"] = partial(send, status=302, Location="file:///etc/passwd")
    assert "no http(s) address" in problem(get(server, tmp_path / "x", "a", private=False))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.20.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_public_addresses(address, public):
    assert is_public(address) is public


def test_the_size_is_bounded_by_what_comes_too(server, tmp_path):
    def endless(handler: BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for _ in range(64):
                handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        except OSError:
            pass

    server.answers |= {"announced": partial(send, Content_Length=str(2**30)), "endless": endless}
    for name in ("announced", "endless"):
        assert problem(get(server, tmp_path, name, max_mb=1.0)) == "is larger than 1.0 MB"
    assert pictures(tmp_path) == []


def test_a_length_that_is_not_kept_is_tried_again(server, tmp_path):
    def short(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, number, **({"Content-Length": "100", "Connection": "close"} if number == 1 else {}))
        handler.close_connection = number == 1

    server.answers["a"] = short
    assert [path.read_text() for path in get(server, tmp_path, "a").files.values()] == ["a"]
    assert server.requests["a"] == 2


def test_a_slow_server_is_given_up(server, tmp_path):
    def drip(handler: BaseHTTPRequestHandler, number: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    server.answers["a"] = drip
    assert problem(get(server, tmp_path, "a", timeout_s=0.4, attempts=1)) == "takes longer than 0.4 s"


def test_requests_to_a_host_are_spaced(server, tmp_path):
    get(server, tmp_path, *"abcdef", per_host_per_s=20.0)
    times = sorted(server.times)
    assert times[-1] - times[0] >= 0.2, "5 spaces of 50 ms, less what the first ones were late"


def test_a_host_that_is_not_there_is_a_problem(server, tmp_path):
    found = get(server, tmp_path, "http://127.0.0.1:1/a", "http://no-such-host.invalid/a", "http://[::1/a", attempts=1)
    assert len(found.problems) == 3


def test_a_folder_that_cannot_be_written_is_an_error(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LocationError, match=r"file \(File exists\): free space or correct catalog\.download\.folder"):
        get(server, tmp_path / "file", "a")


def test_a_full_disk_ends_the_job_and_leaves_nothing_half_written(server, tmp_path):
    """A limit on the size of files stands for the disk."""

    def large(handler: BaseHTTPRequestHandler, number: int) -> None:
        send(handler, number, **{"Content-Length": str(2**21)})
        with suppress(OSError):
            handler.wfile.write(bytes(2**21))

    def slow(handler: BaseHTTPRequestHandler, number: int) -> None:
        time.sleep(0.02)
        send(handler, number)

    names = [f"{n}.jpg" for n in range(400)]
    server.answers |= {**dict.fromkeys(names, slow), names[0]: large}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(LocationError, match=r"\(File too large\).*run the same command again to resume"):
            get(server, tmp_path, *names)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.read_text() for path in pictures(tmp_path)} <= set(names)
    assert len(server.requests) < len(names), "no picture is begun after the error"
