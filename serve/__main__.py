"""Serves a catalog: the search page and the HTTP API.

    python -m serve --serve.bundle OUTPUT/bundle [--serve.index DIR] [--serve.port 8000] [--serve.FIELD VALUE]

Searches the index that jobs/index.py has published: embedded in --serve.index, or on the Qdrant server at QDRANT_URL.
Runs until Ctrl-C, and then finishes running requests. Loads new generations, and a new bundle under the same path,
while it runs. With CIRRAY_API_KEY set, every request needs that key; without it, nothing can be written.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import Options
from cirray.config.serving import ServeConfig, Serving
from cirray.console.log import log

NAME = "cirray"
COMMAND = Command(__doc__ or "", Options, ServeConfig)


def run(argv: Sequence[str]) -> None:
    """Starts the service, prints its address, and waits for Ctrl-C or SIGTERM."""
    settings = COMMAND.read(argv)[1].serve
    from serve.app import build_app  # a wrong setting fails before Ray starts

    _start(build_app(settings), settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    log("stopping: waiting for running requests")
    _stop()


def _stop() -> None:
    """Drains and removes the application. On a cluster, Ray and its other applications keep running."""
    from ray import serve

    serve.delete(NAME)  # drains the replicas first; a shutdown alone kills proxies with running requests
    if not os.environ.get("RAY_ADDRESS"):
        serve.shutdown()


def _start(application: Any, settings: Serving) -> None:
    from ray import serve

    from cirray.cluster.session import connect
    from serve.startup_message import greeting

    replicas = settings.ingress_replicas + settings.encoder_replicas_max
    connect(-(-int(replicas * settings.cpus * 10) // 10), Path(__file__).parent)
    log("starting the service: the encoder loads its model")
    serve.start(http_options={"host": settings.host, "port": settings.port})
    serve.run(application, name=NAME, route_prefix="/")
    print(greeting(settings), flush=True)


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
