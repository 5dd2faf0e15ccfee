"""`toonbox train`: from folders of pictures to a run that can be exported."""

from pathlib import Path

from typer import Option, echo

from toonbox.cli.look import look_names
from toonbox.cli.options import FILE, FOLDER, style_names
from toonbox.cli.terminal import complain, needs
from toonbox.errors import UsageError, WeightsError
from toonbox.options import DEFAULT_STYLE, RunOptions


def train(
    options: RunOptions,
    photos: Path = Option(..., **FOLDER),
    look: str | None = Option(
        None,
        metavar="NAME|FILE",
        help="What to draw: see `toonbox look`. Default: comic.",
        autocompletion=look_names,
    ),
    cartoons: list[Path] | None = Option(None, help="Cartoons for adversarial steps.", **FOLDER),
    start: str | None = Option(
        None,
        metavar="STYLE|DIR|FILE",
        help="Generator to start from; a larger one is fitted to the configured size. "
        "Default: comic, unless --config or --cartoons is given.",
        autocompletion=style_names,
    ),
    face_photos: Path | None = Option(
        None, help="Photos of faces, used for every fifth batch.", **FOLDER
    ),
    face_cartoons: Path | None = Option(
        None, help="Drawn faces, used together with --cartoons.", **FOLDER
    ),
    preset: str | None = Option(None, help="Loss weights: balanced, smooth, flat or outlined."),
    config: Path | None = Option(None, help="Training configuration, TOML.", **FILE),
    steps: int | None = Option(
        None,
        min=0,
        help="Number of steps (default 3000); with --cartoons or --config, of adversarial steps.",
    ),
    vgg: Path | None = Option(None, help="VGG weights. Default: downloaded.", **FILE),
    features: Path | None = Option(
        None, help="EfficientNet-lite0, ONNX or PyTorch. Default: downloaded.", **FILE
    ),
    offline: bool = Option(False, help="Never download."),
    dry_run: bool = Option(False, help="Check the pictures and stop."),
) -> None:
    """Train a style on your own pictures. Rerun the same command to resume.

    \b
    Examples:
      toonbox train --photos photos --look comic --out runs/mine
      toonbox train --photos photos --cartoons drawings --start comic --out runs/mine
      toonbox train --photos photos --config recipes/anime.toml --start comic --out runs/anime
    """
    with needs("train"):
        from toonbox.learn.config import default_config, load_config
        from toonbox.learn.data import TrainingData, inspect_training_data
        from toonbox.learn.features import EfficientNetFeatures, VggFeatures
        from toonbox.learn.generator import load_generator
        from toonbox.learn.run import prepare_run
        from toonbox.learn.state import new_fabric
        from toonbox.learn.train import train as run

    out = options.out
    if config is None and start is None and not cartoons:
        start = DEFAULT_STYLE  # it can draw; from nothing that takes much longer to learn
    weights = None if start is None else find_generator(start)
    beginning = None if weights is None else load_generator(weights)
    if config is not None:
        settings = load_config(config, preset, steps, look)
    else:
        size = None if beginning is None else beginning.config
        settings = default_config(bool(cartoons), preset, steps, look, size)
    if settings.discriminated and not cartoons:
        raise UsageError("adversarial steps need --cartoons DIR, or --steps 0 for none")
    if (face_photos is None) != (face_cartoons is None) and (face_cartoons or cartoons):
        raise UsageError("with cartoons, --face-photos and --face-cartoons belong together")
    if settings.target == "teacher" and start is None:
        raise UsageError('pretrain.kind = "teacher" needs --start STYLE')
    if settings.weights.dashes and settings.steps and settings.target != "drawing":
        raise UsageError("weights.dashes needs a look to draw")
    if preset and not settings.steps:
        raise UsageError("--preset is for adversarial steps, and there are none")
    if features and not settings.needs_features:
        raise UsageError("--features: nothing in this configuration uses it")
    if vgg and not settings.needs_vgg:
        raise UsageError("--vgg: nothing in this configuration uses it")
    if (batch := settings.crops.batch_size) % options.devices:
        raise UsageError(f"a batch of {batch} cannot be shared by {options.devices}")
    lists = out / "data.json"
    data = TrainingData.load(lists) if lists.exists() else None
    used = (cartoons or []) if settings.discriminated else []
    folders = {
        "photos": [photos],
        "cartoons": used,
        "face_photos": [face_photos] if face_photos else [],
        "face_cartoons": [face_cartoons] if face_cartoons and used else [],
    }
    adding = settings.discriminated and (data is None or not data.cartoons)
    if data is not None:
        data.check_files()
        if ignored := data.not_of({"photos": [photos]} if adding else folders):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in ignored)
            complain(f"{out}: continues with the pictures it began with, and ignores {flags}")
    if data is None or adding:
        data, reports = inspect_training_data(folders, settings.crops.size, data)
        for report in reports:
            echo(report.text(), err=True)
    if dry_run:
        return
    fabric = new_fabric(options)
    with fabric.rank_zero_first(local=True):  # which downloads for the others
        frozen = (
            VggFeatures.load(settings.vgg, vgg, offline) if settings.needs_vgg else None,
            EfficientNetFeatures.load(features, offline) if settings.needs_features else None,
        )
    if fabric.is_global_zero:
        prepare_run(settings, out, data, config.name if config else "", weights)
    fabric.barrier()
    done = run(settings, data, options, *frozen, fabric, beginning)
    echo(f"{out}: {done} steps done; next: toonbox export {out} --name NAME")


def find_generator(given: str) -> Path:
    """Find trained weights: a file, a folder of a style or a run, or the name of a style.

    Raises:
        StyleError: no such style.
        WeightsError: the style was exported without the weights to train on.
    """
    from toonbox.engine.style import GENERATOR, find_style

    path = Path(given)
    if path.is_file():
        return path
    found = (path if (path / GENERATOR).is_file() else find_style(given)) / GENERATOR
    if not found.is_file():
        raise WeightsError(f"{found}: missing, so this style cannot be trained further")
    return found
