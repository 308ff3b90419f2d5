"""DCNet against its equations, and its correction network in training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import cirray
from cirray.cluster.board import Poster
from cirray.cluster.worker import Worker
from cirray.config.recipe import load_recipe
from cirray.config.training import CombiningSettings, TrainConfig
from cirray.models import bundle
from cirray.models.combining import build_combining
from cirray.models.combining.dcnet import DCNet
from cirray.storage.location import Location
from cirray.storage.metrics_log import MetricsLog
from cirray.training.loop import Loop
from cirray.training.stages.combine import CombiningTask
from tests.support.slow_layers import State, linear, relu, sigmoid, two_layers, unit
from tests.test_combining_combiner import features
from tests.test_equality import prepare, stage_inputs


def projected(state: State, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    v, t = linear(state, "image_projection.0", image), linear(state, "text_projection.0", text)
    return relu(v), relu(t)


def composition(state: State, image: Tensor, text: Tensor) -> Tensor:
    v, t = projected(state, image, text)
    x = torch.cat([v, t, v * t])
    gated = sigmoid(linear(state, "gate", x)) * image
    return unit(state["weights"][0] * gated + state["weights"][1] * two_layers(state, "residual", x))


def correction(state: State, image: Tensor, target: Tensor) -> Tensor:
    before, after = relu(linear(state, "image_projection.0", image)), relu(linear(state, "image_projection.0", target))
    both = before * after
    first = relu(linear(state, "correction.before.0", torch.cat([both, before])))
    last = relu(linear(state, "correction.after.0", torch.cat([both, after])))
    return unit(relu(linear(state, "correction.difference.0", torch.cat([before, last - first, after]))))


def small() -> DCNet:
    torch.manual_seed(0)
    dcnet = DCNet(6, 8, 9).double().eval()
    dcnet.weights.data = torch.tensor([0.7, -0.4]).double()
    return dcnet


def test_composition_is_gating_on_features_and_their_product() -> None:
    dcnet, (image, text) = small(), (part.double() for part in features(3, 6))
    expected = torch.stack([composition(dcnet.state_dict(), *pair) for pair in zip(image, text, strict=True)])
    torch.testing.assert_close(dcnet(image, text), expected, atol=1e-9, rtol=0)


def test_correction_compares_the_change_of_images_with_the_text() -> None:
    dcnet, (image, text) = small(), (part.double() for part in features(3, 6))
    target, state = features(3, 6, seed=1)[0].double(), dcnet.state_dict()
    asked, change = dcnet.auxiliary(image, text, target)
    for row in range(3):
        torch.testing.assert_close(asked[row], unit(projected(state, image[row], text[row])[1]), atol=1e-9, rtol=0)
        torch.testing.assert_close(change[row], correction(state, image[row], target[row]), atol=1e-9, rtol=0)
    turned = dcnet.auxiliary(target, text, image)[1]
    assert not torch.allclose(turned, change, atol=1e-2)  # the direction of the change matters


def test_the_settings_are_those_of_the_configuration() -> None:
    dropouts = {"dropout_projection": 0.1, "dropout_output": 0.2}
    settings = CombiningSettings.model_validate({"function": "dcnet", "projection": 3, "hidden": 5, **dropouts})
    module = build_combining(6, settings)
    assert isinstance(module, DCNet)
    rates = {name: part.p for name, part in module.named_modules() if isinstance(part, nn.Dropout)}
    assert rates == {"image_projection.2": 0.1, "text_projection.2": 0.1, "residual.2": 0.2}
    assert module.state_dict()["residual.0.weight"].shape == (5, 9)


def test_training_teaches_the_correction_too(tmp_path: Path) -> None:
    prepare(tmp_path)
    values = {
        "stage2.combining.function": "dcnet",
        "stage2.combining.projection": 32,
        "stage2.combining.hidden": 64,
        "stage2.combining.dropout_projection": 0.0,
        "stage2.combining.dropout_output": 0.0,
        "stage2.optimisation.epochs": 40,
        "stage2.optimisation.batch_size": 8,
        "stage2.optimisation.lr": 3e-3,
    }
    config = load_recipe(TrainConfig, "default", values)
    task = CombiningTask(stage_inputs(tmp_path, config), Worker.single())
    train = task.inputs.train
    first = agreement(task)
    log = MetricsLog(Location.parse(tmp_path) / "metrics.jsonl", "stage2")
    Loop(task, config.stage2.optimisation, config.compute, 0, Worker.single(), log, Poster(None)).run()
    losses = [row["loss"] for row in log.rows()]
    assert losses[-1] < 0.5 * losses[0]
    last = agreement(task)
    captions = train.query.tolist()
    others = torch.tensor([[a != b for b in captions] for a in captions])
    margins = [float(found.diag().mean() - found[others].mean()) for found in (first, last)]
    assert margins[0] < 0.02 < 0.05 < margins[1]  # at the temperature of 0.01, five times its scale

    trained = task.combining.eval()
    bundle.save(
        tmp_path / "bundle",
        tmp_path / "encoder",
        trained,
        config.stage2.combining,
        {"fine_tuned": False, "metrics": {}},
    )
    model, (image, text) = cirray.load(tmp_path / "bundle"), features(3, 32)
    assert isinstance(model.combining, DCNet)
    torch.testing.assert_close(model.compose(image, text)[0], trained(image, text))


@torch.no_grad()
def agreement(task: CombiningTask) -> Tensor:
    """Cosines of all texts [T] with all corrections [T]."""
    train, images = task.inputs.train, task.frozen.images
    assert isinstance(task.combining, DCNet)
    texts = task.frozen.captions["train"][train.query]
    asked, change = task.combining.eval().auxiliary(images[train.reference], texts, images[train.target])
    return asked @ change.T
