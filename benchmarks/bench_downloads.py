"""Downloads from a server that fails 5 % of the requests, with a kill -9 in the middle.

python benchmarks/bench_downloads.py [PICTURES]

The server counts the complete pictures that it sends. Speed is measured without failures, with answers at once and
after 20 ms, as the time of a plain loop of urllib requests and of a client that keeps nothing (the server's limit) over
that of a download in the same run.
"""

import asyncio
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from failing_pictures import Counters, is_missing, picture, serve

from cirray.config.catalog import DownloadSettings
from cirray.data.downloads import download_pictures

PICTURES, TIMED, ROUNDS, DELAY_S = 1000, 1000, 3, 0.02
SETTINGS = DownloadSettings(per_host_per_s=1e6, first_wait_s=0.1)  # a host of one's own need not be spared
SPAWN = get_context("spawn")


class Run(NamedTuple):
    """What one process did, and what it took: seconds of the clock and of the CPU, peak MiB before and after."""

    files: dict[int, Path]
    problems: int
    wall: float
    cpu: float
    before: float
    peak: float


def peak() -> float:
    """Returns the peak memory of this process in MiB. (ru_maxrss would include that of the parent.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def download(url: str, numbers: list[int], folder: Path, max_age_h: float = 24.0) -> Run:
    """Downloads pictures with cirray."""
    settings = SETTINGS.model_copy(update={"max_age_h": max_age_h})
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    found = download_pictures([f"{url}/{number}" for number in numbers], folder, settings, allow_private=True)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    files = {int(address.rpartition("/")[2]): file for address, file in found.files.items()}
    return Run(files, len(found.problems), wall, cpu, before, peak())


def plain_loop(url: str, numbers: list[int], folder: Path) -> Run:
    """Downloads pictures one after the other with urllib."""
    folder.mkdir()
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    for number in numbers:
        with urllib.request.urlopen(f"{url}/{number}") as answer:
            (folder / str(number)).write_bytes(answer.read())
    return Run({}, 0, time.perf_counter() - wall, time.process_time() - cpu, before, peak())


def limit(url: str, numbers: list[int], folder: Path) -> Run:
    """Asks for pictures over as many connections as a download has, and keeps nothing."""
    host, port = url.removeprefix("http://").split(":")
    waiting, size = iter(numbers), len(picture(0))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in waiting:
            writer.write(b"GET /%d HTTP/1.1\r\n\r\n" % number)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(size)
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(connection() for _ in range(SETTINGS.connections)))

    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    asyncio.run(run())
    return Run({}, 0, time.perf_counter() - wall, time.process_time() - cpu, before, peak())


def in_process(step: Callable[..., Run], *arguments: object) -> Run:
    """Runs a step in a new process."""
    with ProcessPoolExecutor(1, SPAWN) as pool:
        return pool.submit(step, *arguments).result()


def killed(counters: Counters, after: int, *arguments: object) -> None:
    """Starts a download in a new process, and kills it when the server has sent so many pictures."""
    process = SPAWN.Process(target=download, args=arguments)
    process.start()
    while counters.rows()[1].sum() < after:
        time.sleep(0.002)
    process.kill()
    process.join()


def resumed(url: str, counters: Counters, numbers: list[int], folder: Path) -> None:
    """Downloads with a kill in the middle, again to the end, and twice more; prints what it cost."""
    good = [number for number in numbers if not is_missing(number)]
    requests, sent, unchanged = counters.rows()
    killed(counters, len(good) // 2, url, numbers, folder)
    half, left = int(sent.sum()), len(list((folder / ".partial").iterdir()))
    run = in_process(download, url, numbers, folder)
    lost = set(good) - run.files.keys()
    wrong = sum(file.read_bytes() != picture(number) for number, file in run.files.items())
    twice, most = int((sent - 1).clip(0).sum()), int(sent.max())
    print(f"{len(numbers):,} pictures, {len(numbers) - len(good):,} of them do not exist; {requests.sum():,} requests")
    print(f"killed after {half:,} pictures, with {left} half-written files; resumed to the end in {run.wall:.0f} s")
    print(f"good pictures that are not there: {len(lost)}; with wrong bytes: {wrong}; other problems: {run.problems}")
    print(f"sent twice: {twice} (at most {SETTINGS.connections} were on their way); most often sent: {most} times")
    print(f"half-written files at the end: {len(list((folder / '.partial').iterdir()))}", end="; ")
    print(f"journal: {(folder / 'downloads.jsonl').stat().st_size / len(good):.0f} bytes a picture", end="; ")
    print(f"peak memory: {run.peak:.0f} MiB, {run.before:.0f} of them before the download")
    assert not lost and not wrong and most <= 2 and twice <= SETTINGS.connections
    for max_age_h in (24.0, 0.0):
        requests[:], sent[:], unchanged[:] = 0, 0, 0
        counters.failing.value = 0
        run = in_process(download, url, good, folder, max_age_h)
        print(f"again, max_age_h {max_age_h:g}: {requests.sum():,} requests, {unchanged.sum():,} unchanged", end=", ")
        print(f"{sent.sum():,} pictures sent; {run.wall:.1f} s, {run.cpu:.1f} s of CPU")


def speed(url: str, numbers: list[int], folder: Path) -> None:
    """Prints the speed of downloads beside the plain loop and the limit: the best of ROUNDS, taken in turn."""
    runs: dict[str, list[Run]] = {step.__name__: [] for step in (download, plain_loop, limit)}
    for number in range(ROUNDS):
        for step in (download, plain_loop, limit):
            runs[step.__name__].append(in_process(step, url, numbers, folder / f"{step.__name__}-{number}"))
    best = min(run.wall for run in runs["download"])
    for name, taken in runs.items():
        wall, cpu = min(run.wall for run in taken), min(run.cpu for run in taken) / len(numbers)
        print(f"  {name:10} {len(numbers) / wall:7,.0f} pictures/s, {wall / best:5.2f}x the time", end=", ")
        print(f"{1000 * cpu:.2f} s of CPU per 1,000")


def main(pictures: int) -> None:
    """Starts the server and prints all results."""
    counters = Counters(pictures)
    ours, theirs = SPAWN.Pipe()
    server = SPAWN.Process(target=serve, args=(counters, theirs), daemon=True)
    server.start()
    url = ours.recv()
    with tempfile.TemporaryDirectory() as folder:
        resumed(url, counters, list(range(pictures)), Path(folder) / "downloads")
        good = [number for number in range(pictures) if not is_missing(number)]
        for delay in (0.0, DELAY_S):
            counters.delay.value = delay
            print(f"{len(good[:TIMED]):,} pictures without failures, each after {1000 * delay:g} ms:")
            with tempfile.TemporaryDirectory(dir=folder) as fresh:
                speed(url, good[:TIMED], Path(fresh))
    server.terminate()
    server.join()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
