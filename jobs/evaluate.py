#!/usr/bin/env python
"""Evaluates a bundle on a split with the dataset's own protocol.

    python jobs/evaluate.py --bundle OUTPUT/bundle --data.format triplets --data.root DIR [--split val] [--output DIR]

Prints a table. With --output DIR, writes DIR/evaluation.json; otherwise also prints the results as JSON.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.command_line import main, parse
from cirray.config.recipe import load_recipe
from cirray.console.log import log
from cirray.errors import ConfigError


def run(argv: Sequence[str]) -> None:
    """Parses, evaluates, prints the table and writes the JSON result."""
    values = parse(argv)
    folder, split = values.pop("bundle", None), values.pop("split", "val")
    if not isinstance(folder, str):
        raise ConfigError("--bundle DIR is missing: the bundle folder of a finished training, OUTPUT/bundle")
    config = load_recipe("default", values)
    from cirray.evaluation.bundle import evaluate_bundle  # a wrong setting fails before torch and Ray are loaded

    report, table = evaluate_bundle(folder, config, split)
    print(table)
    if config.output:
        from cirray.storage.files import write_json
        from cirray.training.run_dir import Output

        output = Output(config.output)
        write_json(output.step("evaluation.json"), report)
        output.keep("evaluation.json")
        log(f"written to {output.location_of('evaluation.json')}")
    else:
        print(json.dumps(report["results"]))


if __name__ == "__main__":
    main(run, __doc__ or "")
