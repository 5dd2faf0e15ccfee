import pytest

from toonbox.cli.main import main


@pytest.fixture
def style_folder(tiny_style, tmp_path_factory):
    """Make one tiny style away from the test's own folder, whose content the tests look at."""
    return tiny_style(to=tmp_path_factory.mktemp("styles"))


@pytest.fixture
def toonbox(style_folder, capsys):
    """Give a function that runs the command and returns exit code, output, errors."""

    def run(*arguments, style=style_folder):
        with pytest.raises(SystemExit) as exit:
            main([*map(str, arguments), "--style", str(style)])
        return exit.value.code or 0, *capsys.readouterr()

    return run
