import pytest


@pytest.fixture
def style_folder(tiny_style, tmp_path_factory):
    """Make one tiny style away from the test's own folder, whose content the tests look at."""
    return tiny_style(to=tmp_path_factory.mktemp("styles"))
