"""The multilayer perceptron: against its equation, and from the configuration to the service."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import cirray
from cirray.client.schemas import ModelAnswer
from cirray.cluster.board import Poster
from cirray.cluster.worker import Worker
from cirray.config.recipe import load_recipe
from cirray.config.training import CombiningSettings, TrainConfig
from cirray.models import bundle
from cirray.models.combining import build_combining
from cirray.models.combining.mlp import MLP
from cirray.storage.location import Location
from cirray.storage.metrics_log import MetricsLog
from cirray.training.loop import Loop
from cirray.training.stages.combine import CombiningTask
from serve.loaded_bundle import Loaded
from tests.test_combining_combiner import features
from tests.test_equality import prepare, stage_inputs


def test_it_is_one_hidden_layer_on_text_and_image() -> None:
    torch.manual_seed(0)
    mlp, (image, text) = MLP(4, 9).eval(), features(3, 4)
    first, last = mlp.layers[0], mlp.layers[-1]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    hidden = (torch.cat((text, image), dim=1) @ first.weight.T + first.bias).clamp(min=0)
    expected = hidden @ last.weight.T + last.bias
    torch.testing.assert_close(mlp(image, text), expected / expected.norm(dim=1, keepdim=True), atol=1e-6, rtol=0)


def test_the_settings_are_those_of_the_configuration() -> None:
    module = build_combining(6, CombiningSettings(function="mlp", hidden=5, dropout_output=0.2))
    assert isinstance(module, MLP)
    assert isinstance(module.layers[2], nn.Dropout) and module.layers[2].p == 0.2
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == {
        "layers.0.weight": (5, 12),
        "layers.0.bias": (5,),
        "layers.3.weight": (6, 5),
        "layers.3.bias": (6,),
    }
    with pytest.raises(ValidationError, match=r"must be one of .*mlp"):
        CombiningSettings(function="perceptron")


def test_it_is_trained_saved_loaded_and_served(tmp_path: Path) -> None:
    prepare(tmp_path)
    values = {
        "stage2.combining.function": "mlp",
        "stage2.combining.hidden": 64,
        "stage2.combining.dropout_output": 0.0,
        "stage2.optimisation.epochs": 60,
        "stage2.optimisation.batch_size": 8,
        "stage2.optimisation.lr": 3e-3,
    }
    config = load_recipe(TrainConfig, "default", values)
    task = CombiningTask(stage_inputs(tmp_path, config), Worker.single())
    log = MetricsLog(Location.parse(tmp_path) / "metrics.jsonl", "stage2")
    Loop(task, config.stage2.optimisation, config.compute, 0, Worker.single(), log, Poster(None)).run()
    losses = [row["loss"] for row in log.rows()]
    assert len(losses) == 60 and losses[-1] < 0.5 * losses[0]

    trained, settings = task.combining.eval(), config.stage2.combining
    bundle.save(tmp_path / "bundle", tmp_path / "encoder", trained, settings, {"fine_tuned": False, "metrics": {}})
    model, (image, text) = cirray.load(tmp_path / "bundle"), features(3, 32)
    assert isinstance(model.combining, MLP)
    torch.testing.assert_close(model.compose(image, text)[0], trained(image, text))

    info = Loaded(Location.parse(tmp_path / "bundle"), "cpu").info
    assert (info.combining, info.has_text_weight) == ("mlp", False)
    assert info.combining in ModelAnswer.model_json_schema()["properties"]["combining"]["enum"]
