"""`toonbox train`: from two folders of pictures to a run that can be exported."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """Of the networks' arithmetic; weights are always float32."""

    full = "32"
    bf16 = "bf16"


Folder = typer.Option(exists=True, file_okay=False)
File = typer.Option(exists=True, dir_okay=False)


def train(
    photos: Annotated[Path, Folder],
    out: Annotated[Path, typer.Option(help="Folder of the run; an existing run is resumed.")],
    cartoons: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="For adversarial steps."),
    ] = None,
    face_photos: Annotated[Path | None, Folder] = None,
    face_cartoons: Annotated[Path | None, Folder] = None,
    preset: Annotated[str | None, typer.Option(help="balanced, smooth, flat or outlined.")] = None,
    config: Annotated[Path | None, File] = None,
    steps: Annotated[int | None, typer.Option(help="Adversarial steps.")] = None,
    device: Device = Device.auto,
    devices: Annotated[int, typer.Option(min=1, help="Processes that share a batch.")] = 1,
    precision: Precision = Precision.full,
    workers: Annotated[int, typer.Option(min=0, help="Processes for crops and superpixels.")] = 2,
    vgg: Annotated[
        Path | None, typer.Option(help="VGG weights; downloaded if not given.", exists=True)
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="EfficientNet-lite0 as ONNX, for discriminators and losses on features."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="generator.safetensors of another run, for pretrain.kind = teacher."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="generator.safetensors of another run, of the same size, to begin with."),
    ] = None,
    drawings: Annotated[
        Path | None, typer.Option(help="Folder for the drawn targets; a cache if not given.")
    ] = None,
    offline: Annotated[bool, typer.Option(help="Never download.")] = False,
    sample_every: Annotated[int, typer.Option(min=1)] = 250,
    checkpoint_minutes: Annotated[float, typer.Option(min=0)] = 5.0,
    retune: Annotated[
        bool,
        typer.Option("--retune", help="Go on with other weights or pre-training than before."),
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Check the pictures and stop.")] = False,
) -> None:
    """Train a style on your own pictures.

    Example: toonbox train --photos photos --cartoons drawings --out runs/mine
    """
    from toonbox.cli.extras import learning_half

    with learning_half():
        from toonbox.checkpoint import load_generator
        from toonbox.networks.efficientnet import EfficientNetFeatures
        from toonbox.networks.vgg import VggFeatures
        from toonbox.training.config import load_config
        from toonbox.training.folders import TrainingData, inspect_training_data
        from toonbox.training.loop import new_fabric, prepare_run
        from toonbox.training.loop import train as run
        from toonbox.training.report import RunOptions

    from toonbox.errors import UsageError

    if (face_photos is None) != (face_cartoons is None):
        raise UsageError("--face-photos and --face-cartoons belong together")
    settings = load_config(config, preset, steps)
    if settings.needs_features != (features is not None):
        raise UsageError(
            '--features FILE belongs to discriminators of kind = "features" '
            "and to pretrain.feature_weight"
        )
    if (settings.pretrain.kind == "teacher") != (teacher is not None):
        raise UsageError('--teacher FILE belongs to pre-training of kind = "teacher"')
    if settings.steps and not cartoons:
        raise UsageError("adversarial steps need --cartoons DIR, or --steps 0 for none")
    if settings.crops.batch_size % devices:
        raise UsageError(f"a batch of {settings.crops.batch_size} cannot be shared by {devices}")
    lists = out / "data.json"
    if lists.exists():
        data = TrainingData.load(lists)
    else:
        faces = (face_photos, face_cartoons) if face_photos and face_cartoons else None
        data, reports = inspect_training_data(photos, cartoons or [], faces, settings.crops.size)
        for report in reports:
            typer.echo(report.text(), err=True)
    if dry_run:
        return
    options = RunOptions(
        out,
        device.value,
        devices,
        precision.value,
        workers,
        sample_every,
        checkpoint_minutes,
        drawings,
    )
    fabric = new_fabric(options)
    if fabric.is_global_zero:
        prepare_run(settings, out, data, retune)
    fabric.barrier()
    run(
        settings,
        data,
        options,
        VggFeatures.load(settings.vgg, vgg, offline) if settings.steps else None,
        None if features is None else EfficientNetFeatures.load(features),
        fabric,
        None if teacher is None else load_generator(teacher),
        None if start is None else load_generator(start),
    )
    typer.echo(f"{out}: {settings.total_steps} steps done; next: toonbox export {out} --name NAME")
