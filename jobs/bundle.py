#!/usr/bin/env python
"""Makes a bundle of a published or local CLIP, without data and without training.

    python jobs/bundle.py --backbone.model ViT-B-32 --backbone.pretrained openai --output BUNDLE
    python jobs/bundle.py --backbone.model ViT-B-32-quickgelu --backbone.weights ViT-B-32.pt --output BUNDLE
    python jobs/bundle.py --backbone.model hf-hub:OWNER/NAME --output BUNDLE

Published weights are fetched once and cached (HF_HOME). A local file is a .safetensors file, a .pt file of tensors, or
one of OpenAI's files; no code in it is run. Models with a tokenizer of the hub, such as SigLIP, need the package
transformers. The bundle adds image and text features (Sum); jobs/index.py and the service take it like a trained one.
Prints one JSON result.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))  # a submitted job is not installed

from cirray.config.bundling import BundleConfig
from cirray.config.command import Command
from cirray.config.command_line import main
from cirray.config.help import help_text
from cirray.config.options import Options
from cirray.console.log import log

COMMAND = Command(__doc__ or "", Options, BundleConfig)


def run(argv: Sequence[str]) -> None:
    """Parses, writes the bundle, prints the JSON result and the next command."""
    _, config = COMMAND.read(argv)
    from cirray.models.untrained import write_untrained  # a wrong setting fails before torch is loaded

    print(json.dumps(write_untrained(config), indent=2))
    log(f"next: python jobs/index.py --bundle {config.output} --catalog CATALOG --index.path INDEX")


if __name__ == "__main__":
    main(run, partial(help_text, COMMAND))
