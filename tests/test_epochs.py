"""Large catalogs get fewer epochs of stage 0."""

import pytest

from cirray.config.recipe import load_recipe
from cirray.config.training import TrainConfig
from cirray.training.epochs import with_limited_epochs


@pytest.mark.parametrize(
    ("titles", "most", "epochs"),
    [(100, None, 36), (100, 3600, 36), (100, 3599, 35), (100, 250, 2), (1000, 250, 1)],
)
def test_epochs_are_as_many_as_the_maximum_of_examples_allows(titles, most, epochs, capsys):
    config = load_recipe(TrainConfig, "shop", {"stage0.max_examples": most})
    limited = with_limited_epochs(config, titles)
    assert limited.stage0.optimisation.epochs == epochs
    assert limited.stage1 == config.stage1
    assert ("epochs instead of 36" in capsys.readouterr().err) == (epochs != 36)


def test_a_stage_that_is_not_trained_is_not_limited():
    config = load_recipe(TrainConfig, "shop", {"stage0.max_examples": 1, "stage0.enabled": False})
    assert with_limited_epochs(config, 100) is config
