#!/usr/bin/env python
"""Draws an exam on the demo catalog, and scores a bundle on it.

    python jobs/exam.py --catalog build/demo/catalog --exam build/demo/exam
    python jobs/exam.py --exam build/demo/exam --bundle build/demo/training/bundle [--output DIR]

An exam has queries with all their right answers, hard negatives, six wordings of each query, queries of two references,
negative queries ("not like that") and goals of several rounds. --catalog draws it, unless it is there already. --bundle
prints a table of its measures. With --output DIR, writes DIR/exam.json and DIR/failures.png; otherwise also prints the
measures as JSON.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.evaluation import ExamConfig
from cirray.config.help import help_text
from cirray.config.options import Folder
from cirray.config.options import Options as Base
from cirray.console.log import log
from cirray.errors import ConfigError


class Options(Base):
    """The own options of this command."""

    exam: Folder = Field(description="the exam's folder, such as build/demo/exam")
    catalog: Folder = Field("", description="draw the exam on this demo catalog, OUTPUT/catalog of jobs/demo.py")
    bundle: Folder = Field("", description="score this bundle, the folder OUTPUT/bundle of a finished training")


COMMAND = Command(__doc__ or "", Options, ExamConfig)


def run(argv: Sequence[str]) -> None:
    """Draws the exam, scores the bundle, or both."""
    options, config = COMMAND.read(argv)
    if not options.catalog and not options.bundle:
        raise ConfigError("give --catalog DIR to draw the exam, --bundle DIR to score a bundle on it, or both")
    if options.catalog:
        from cirray.demo.exam.write import write_exam

        log(f"drawing an exam in {options.exam}")
        write_exam(Path(options.catalog).expanduser(), Path(options.exam).expanduser())
    if options.bundle:
        _score(options, config)


def _score(options: Options, config: ExamConfig) -> None:
    from cirray.evaluation.exam.score import score_exam  # imports torch and Ray, so only after the arguments are valid
    from cirray.evaluation.exam.table import text_table

    scored = score_exam(options.bundle, options.exam, config)
    print(text_table(scored.report))
    if not config.output:
        print(json.dumps(scored.report["measures"]))
        return
    from cirray.evaluation.figures import draw_queries
    from cirray.storage.files import write_json
    from cirray.storage.location import Location

    output = Location.parse(config.output)
    write_json((output / "exam.json").local, scored.report)
    (output / "exam.json").push()
    if scored.failures:
        examples = [failure.example for failure in scored.failures]
        draw_queries(examples, "exam: failures", scored.background, (output / "failures.png").local)
        (output / "failures.png").push()
    log(f"results    {output}")


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
