"""The cards of the shipped styles, held against the recipes that they name."""

from pathlib import Path

import pytest

from toonbox.engine.style import CARD, GENERATOR, SHIPPED, read_card
from toonbox.learn.config import load_config
from toonbox.learn.generator import load_generator

RECIPES = Path(__file__).parents[2] / "recipes"
STYLES = sorted(card.parent for card in SHIPPED.glob(f"*/{CARD}"))


@pytest.mark.parametrize("folder", STYLES, ids=[folder.name for folder in STYLES])
def test_a_card_and_its_recipe_agree(folder: Path) -> None:
    card = read_card(folder)
    assert card.name == folder.name
    assert card.data
    recipe = load_config(RECIPES / card.recipe)
    assert card.config_sha256 == recipe.sha256()
    assert card.steps == recipe.total_steps
    assert load_generator(folder / GENERATOR).config == recipe.generator
