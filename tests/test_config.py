"""Recipes, overrides, and what is said about wrong settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cirray.config.fields import fields
from cirray.config.recipe import load_recipe, recipe_names
from cirray.config.training import TrainConfig
from cirray.errors import ConfigError


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_resolves(name: str) -> None:
    config = load_recipe(TrainConfig, name)
    assert config.recipe == name
    assert TrainConfig.model_validate(config.model_dump()) == config


def test_the_recipes_that_users_were_promised_are_there() -> None:
    promised = {
        "default",
        "tiny",
        "tiny-both",
        "demo",
        "fashioniq-rn50",
        "fashioniq-rn50x4",
        "cirr-rn50",
        "cirr-rn50x4",
    }
    assert promised <= set(recipe_names())


def test_default_is_all_defaults() -> None:
    assert load_recipe(TrainConfig, "default") == TrainConfig(recipe="default")


def test_the_papers_settings() -> None:
    config = load_recipe(TrainConfig, "fashioniq-rn50x4")
    assert (config.backbone.model, config.backbone.pretrained) == ("RN50x4", "openai")
    assert (config.preprocess.pad, config.preprocess.ratio) == ("target", 1.25)
    first, second = config.stage1, config.stage2
    assert (first.encoder, first.loss.temperature, first.loss.learn_temperature) == ("text", 0.01, False)
    one, two = first.optimisation, second.optimisation
    assert (one.optimizer, one.lr, one.betas, one.eps, one.weight_decay) == ("adamw", 2e-6, (0.9, 0.999), 1e-7, 0.01)
    assert (two.optimizer, two.lr, two.weight_decay) == ("adam", 2e-5, 0.0)
    assert 128 <= one.batch_size <= 512
    assert 1024 <= two.batch_size <= 4096
    for settings in (one, two):
        assert (settings.schedule, settings.clip_norm, settings.drop_last) == ("constant", None, True)
    combining = second.combining
    assert (combining.function, combining.projection, combining.hidden) == ("combiner", 2560, 5120)
    dropouts = {combining.dropout_projection, combining.dropout_output, combining.dropout_text_weight}
    assert dropouts == {0.5}
    assert not config.stage0.enabled


@pytest.mark.parametrize("name", ["cirr-rn50", "cirr-rn50x4"])
def test_cirr_recipes_extend_those_of_fashioniq(name: str) -> None:
    config, base = load_recipe(TrainConfig, name), load_recipe(TrainConfig, name.replace("cirr", "fashioniq"))
    assert config.data.format == "cirr"
    assert (config.stage1, config.stage2, config.backbone) == (base.stage1, base.stage2, base.backbone)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("stage1.optimisation.lrr", "stage1.optimisation.lr"),
        ("stage1.optimization.epochs", "stage1.optimisation.epochs"),
        ("stage2.combining.hiden", "stage2.combining.hidden"),
        ("worker", "workers"),
        ("pretrained", "backbone.pretrained"),
    ],
)
def test_an_unknown_field_names_the_nearest(override: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"named {override}\. Did you mean {nearest}\?"):
        load_recipe(TrainConfig, "default", {override: 1})
    path = tmp_path / "mine.yaml"
    nested: Any = 1
    for part in reversed(override.split(".")):
        nested = {part: nested}
    path.write_text(str(nested), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"named {override}\. Did you mean {nearest}\?"):
        load_recipe(TrainConfig, str(path))


def test_an_unknown_field_like_no_other_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="named qqqqqqqq"):
        load_recipe(TrainConfig, "default", {"qqqqqqqq": 1})


@pytest.mark.parametrize("section", ["stage1", "stage1.optimisation", "data"])
def test_a_section_is_no_field(section: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{section} is a section, not a field: give one of its fields, such as "):
        load_recipe(TrainConfig, "default", {section: 3})


@pytest.mark.parametrize("text", ["data:\n", "data: 3\n"])
def test_a_section_without_fields_in_a_file_is_explained(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="data is a section"):
        load_recipe(TrainConfig, str(path), {"data.root": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stage1.optimisation.lr", 0.0),
        ("stage1.optimisation.lr", "fast"),
        ("stage1.encoder", "vision"),
        ("workers", 0),
        ("workers", 1.5),
        ("seed", -1),
        ("data.format", "imagenet"),
        ("data.categories", []),
        ("preprocess.ratio", 0.5),
        ("stage2.combining.dropout_output", 1.0),
        ("stage2.optimisation.warmup", -0.1),
        ("stage2.loss.temperature", 0),
        ("stage3.top", 1),
        ("stage3.reranker.function", "magic"),
        ("stage3.reranker.dropout", 1.0),
    ],
)
def test_a_wrong_value_names_its_field(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(TrainConfig, "default", {name: value})
    section = name.rpartition(".")[0] if name == "data.categories" else name
    assert f"  {section}: " in str(caught.value)
    assert "recipe default" in str(caught.value)


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(TrainConfig, "default", {"workers": 0, "seed": -1})
    assert "2 wrong" in str(caught.value)
    assert "  workers: " in str(caught.value)
    assert "  seed: " in str(caught.value)


def test_overrides_change_only_what_they_name() -> None:
    config = load_recipe(
        TrainConfig, "tiny", {"stage1.optimisation.lr": 0.5, "data.root": "x", "data.categories": ["dress"]}
    )
    base = load_recipe(TrainConfig, "tiny")
    assert config.stage1.optimisation.lr == 0.5
    assert config.data.root == "x"
    assert config.data.categories == ("dress",)
    assert config.stage1.optimisation.epochs == base.stage1.optimisation.epochs
    assert config.stage2 == base.stage2
    assert base.data.root == ""


@pytest.mark.parametrize("name", recipe_names())
def test_a_runs_own_config_loads_back_equal(name: str, tmp_path: Path) -> None:
    config = load_recipe(TrainConfig, name, {"output": "somewhere", "stage1.optimisation.chunk": 7, "seed": 5})
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_recipe(TrainConfig, str(path)) == config
    assert load_recipe(TrainConfig, str(path), {"seed": 6}) == config.model_copy(update={"seed": 6})


def test_more_workers_than_a_batch_has_triplets_are_refused() -> None:
    batch = {"stage1.optimisation.batch_size": 2}
    assert load_recipe(TrainConfig, "default", {**batch, "workers": 2}).workers == 2
    with pytest.raises(
        ConfigError, match=r"stage1\.optimisation\.batch_size is 2, less than the number of workers \(3\)"
    ):
        load_recipe(TrainConfig, "default", {**batch, "workers": 3})
    assert load_recipe(TrainConfig, "default", {**batch, "workers": 3, "stage1.enabled": False}).workers == 3


def test_weights_come_from_one_place() -> None:
    assert load_recipe(TrainConfig, "default", {"backbone.weights": "x.pt"}).backbone.weights == "x.pt"
    with pytest.raises(ConfigError, match="backbone: give pretrained or weights, not both"):
        load_recipe(TrainConfig, "fashioniq-rn50", {"backbone.weights": "x.pt"})


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        load_recipe(TrainConfig, "default", {"compute.precision": "fp16", "compute.device": "cpu"})


def test_unknown_recipes() -> None:
    with pytest.raises(ConfigError, match=r"no recipe named tinny\. Did you mean tiny\?"):
        load_recipe(TrainConfig, "tinny")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        load_recipe(TrainConfig, "nowhere.yaml")


@pytest.mark.parametrize(("text", "message"), [("a: [b", "is not YAML"), ("- 1\n", "must be a mapping")])
def test_broken_recipe_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_recipe(TrainConfig, str(path))


def test_extending(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("extends: tiny\nstage1: {optimisation: {lr: 0.25}}\n", encoding="utf-8")
    second.write_text(f"extends: {first}\nseed: 3\n", encoding="utf-8")
    config = load_recipe(TrainConfig, str(second))
    assert (config.seed, config.stage1.optimisation.lr) == (3, 0.25)
    assert config.stage1.optimisation.batch_size == load_recipe(TrainConfig, "tiny").stage1.optimisation.batch_size
    first.write_text(f"extends: {second}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="extends itself"):
        load_recipe(TrainConfig, str(second))


def test_configurations_do_not_change() -> None:
    with pytest.raises(ValidationError):
        TrainConfig().seed = 3  # type: ignore[misc]


def test_fields_are_those_of_the_dump() -> None:
    dump: Any = TrainConfig().model_dump()
    found = list(fields(TrainConfig()))
    assert len(found) == len({field.name for field in found}) > 60
    for field in found:
        value = dump
        for part in field.name.split("."):
            value = value[part]
        assert not isinstance(value, dict), field.name
        assert value == field.value
