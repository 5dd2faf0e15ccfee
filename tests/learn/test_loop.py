import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from toonbox.cli.main import main
from toonbox.errors import ConfigError, DataError, OutputError, TrainingError, UsageError
from toonbox.learn import layers
from toonbox.learn import train as loop
from toonbox.learn.config import load_config, save_config
from toonbox.learn.data import (
    TrainingData,
    batches,
    inspect_training_data,
    prepare_drawings,
)
from toonbox.learn.generator import Generator, GeneratorConfig, load_generator
from toonbox.learn.inspect import FolderReport
from toonbox.learn.run import prepare_run, save
from toonbox.learn.state import new_fabric, new_state
from toonbox.learn.train import train
from toonbox.options import RunOptions
from workers_here import pool_here

pytestmark = pytest.mark.usefixtures("unmeasured")


class Vgg(torch.nn.Module):
    """A seeded convolution in place of nine million parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = torch.nn.Conv2d(3, 8, 5, 4, 2).requires_grad_(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image)


def options(out: Path, **values: Any) -> RunOptions:
    defaults = {"device": "cpu", "workers": 0, "sample_every": 3, "checkpoint_minutes": 0.0}
    return RunOptions(out, **{**defaults, "drawings": out.parent / "drawings", **values})


def inspect(
    photos: Path,
    cartoons: list[Path],
    face_photos: Path | None = None,
    face_cartoons: Path | None = None,
    before: TrainingData | None = None,
) -> tuple[TrainingData, list[FolderReport]]:
    folders = {
        "photos": [photos],
        "cartoons": cartoons,
        "face_photos": [face_photos] if face_photos else [],
        "face_cartoons": [face_cartoons] if face_cartoons else [],
    }
    return inspect_training_data(folders, 32, before)


def do_run(config, folders, run: RunOptions) -> None:
    torch.set_num_threads(1)
    data, _ = inspect(folders[0], [folders[1]] if config.steps else [])
    prepare_run(config, run.out, data)
    train(config, data, run, Vgg() if config.steps else None, None)


def do_run_here(config, folders, run: RunOptions) -> None:
    """Train in a process of its own, and in no other."""
    loop.worker_pool = layers.worker_pool = pool_here
    do_run(config, folders, run)


def do_run_and_die(config, folders, run: RunOptions, at_step: int) -> None:
    """Train, and be killed in the middle of a step, without a chance to clean up."""
    update = loop.one_step

    def fatal(state, *rest):
        losses = update(state, *rest)
        if state.step == at_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return losses

    loop.one_step = fatal
    do_run_here(config, folders, run)


def run_command(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    main(arguments)


def in_a_process(target, *arguments) -> int:
    """Run in a fork of a process that has imported torch, which takes seconds, and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toonbox.learn.train"])
    process = context.Process(target=target, args=arguments)
    process.start()
    process.join(3600)
    assert process.exitcode is not None
    return process.exitcode


def checkpoint(out: Path) -> dict[str, Any]:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}[{index}]")
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> Path:
    """Where all runs keep what they compute of the same photos."""
    return tmp_path_factory.mktemp("drawings")


@pytest.fixture(scope="module")
def straight(tmp_path_factory, folders, tiny_config, drawings: Path) -> Path:
    """A run of six steps, two of them pre-training, done in one go without workers."""
    out = tmp_path_factory.mktemp("straight") / "run"
    config = tiny_config(steps=4, pretrain={"steps": 2})
    assert in_a_process(do_run_here, config, folders, options(out, drawings=drawings)) == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("killed_at", "workers"), [(1, 0), (3, 2)])
def test_a_killed_run_goes_on_bit_for_bit(
    straight: Path, tmp_path: Path, folders, drawings: Path, killed_at: int, workers: int
) -> None:
    out = tmp_path / "run"
    run = options(out, drawings=drawings, sample_every=100)
    config = load_config(straight / "config.toml")
    assert in_a_process(do_run_and_die, config, folders, run, killed_at) == -signal.SIGKILL
    assert checkpoint(out)["step"] == killed_at
    go_on = do_run if workers else do_run_here
    assert in_a_process(go_on, config, folders, replace(run, workers=workers)) == 0
    assert checkpoint(out)["step"] == 6
    assert_equal(checkpoint(out), checkpoint(straight))


def test_a_killed_drawing_run_goes_on_bit_for_bit(
    tmp_path: Path, folders, tiny_config: Any, drawings: Path
) -> None:
    values = {"generator": KNOBBED, "knobs_at_default": 0.2, "steps": 0}
    config = tiny_config(**values, pretrain={"kind": "drawing", "steps": 4, "noise": 5.0})
    whole, run = (
        options(tmp_path / name, drawings=drawings, sample_every=100) for name in ("whole", "run")
    )
    assert in_a_process(do_run, config, folders, replace(whole, workers=1)) == 0
    assert in_a_process(do_run_and_die, config, folders, run, 2) == -signal.SIGKILL
    assert checkpoint(run.out)["step"] == 2
    assert in_a_process(do_run_here, config, folders, run) == 0
    assert checkpoint(run.out)["step"] == 4
    assert_equal(checkpoint(run.out), checkpoint(whole.out))


def test_a_run_leaves_all_that_is_needed(straight: Path) -> None:
    config = load_config(straight / "config.toml")
    assert config.total_steps == 6
    environment = json.loads((straight / "environment.json").read_text())
    assert environment["torch"].startswith("2.")
    assert environment["opencv"]
    data = TrainingData.load(straight / "data.json")
    assert len(data.validation) == 6
    assert len(data.photos) == 6
    assert not set(data.validation) & set(data.photos)
    samples = sorted((straight / "samples").iterdir())
    assert [s.name for s in samples] == ["000002.png", "000003.png", "000006.png"]
    with Image.open(samples[-1]) as grid:
        assert grid.size == (5 * 260, 6 * 260)
    average = checkpoint(straight)["average"]
    generator = load_generator(straight / "generator.safetensors")
    for name, weight in generator.state_dict().items():
        assert torch.equal(weight, average[f"module.{name}"])
    events = EventAccumulator(str(straight / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("adversarial/structure")] == [3, 4, 5, 6]
    assert [e.step for e in events.Scalars("pre-training/reconstruction")] == [1, 2]


def test_a_run_may_grow_and_not_change(straight: Path, tiny_config) -> None:
    data = TrainingData.load(straight / "data.json")
    before = (straight / "config.toml").read_text()
    values = {"pretrain": {"steps": 2}}
    with pytest.raises(TrainingError, match="another configuration"):
        prepare_run(tiny_config(steps=4, seed=5, **values), straight, data)
    assert (straight / "config.toml").read_text() == before
    with pytest.raises(TrainingError, match=r"configuration \(seed, weights.tv\)"):
        prepare_run(tiny_config(seed=5, weights={"tv": 9}, **values), straight, data)
    prepare_run(tiny_config(steps=9, **values), straight, data)
    assert "steps = 9" in (straight / "config.toml").read_text()
    (straight / "config.toml").write_text(before)


def test_another_start_is_ignored_with_a_warning(
    straight: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = shutil.copytree(straight, tmp_path / "run")
    config, data = load_config(out / "config.toml"), TrainingData.load(out / "data.json")
    start = straight / "generator.safetensors"
    ignored = f"{out}: goes on from its checkpoint, and ignores {start}"
    for _ in range(2):
        prepare_run(config, out, data, start=start)
    assert [record.getMessage() for record in caplog.records] == [ignored] * 2
    (out / "checkpoint.pt").unlink()
    for _ in range(2):  # now it does begin with this
        prepare_run(config, out, data, start=start)
        shutil.copy(straight / "checkpoint.pt", out)
    assert len(caplog.records) == 2


DRAWN = {"steps": 2, "kind": "drawing"}


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        ({"pretrain": DRAWN}, {"pretrain": {**DRAWN, "look": "ink"}}, "pretrain.look.tones"),
        (
            {"pretrain": {"kind": "identity"}},
            {"pretrain": {"kind": "identity", "look": "ink"}},
            None,
        ),
        ({"pretrain": {"steps": 0}}, {"pretrain": {"steps": 0, "learning_rate": 1e-5}}, None),
        ({"steps": 0}, {"steps": 0, "weights": {"dashes": 2}, "structure": {"segments": 9}}, None),
        ({"steps": 0}, {"steps": 5, "weights": {"dashes": 2}}, None),
        ({"steps": 0, "pretrain": DRAWN}, {"steps": 0, "pretrain": {**DRAWN, "steps": 9}}, None),
        ({"steps": 4, "pretrain": DRAWN}, {"pretrain": {**DRAWN, "steps": 9}}, "pretrain.steps"),
        ({"steps": 4}, {"steps": 0, "weights": {"tv": 9}}, "weights.tv"),
    ],
)
def test_only_what_a_run_has_used_must_stay(
    tiny_config, tmp_path: Path, before: dict[str, Any], now: dict[str, Any], refused: str | None
) -> None:
    data = TrainingData([], [])
    prepare_run(tiny_config(**before), tmp_path, data)
    with pytest.raises(TrainingError, match=refused) if refused else nullcontext():
        prepare_run(tiny_config(**now), tmp_path, data)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_ctrl_c_and_sigterm_finish_the_step_and_save(
    number: int,
    raised: type[BaseException],
    tmp_path: Path,
    folders,
    tiny_config,
    drawings: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    update = loop.one_step

    def interrupted(state, *rest):
        if state.step == 1:
            handler = signal.getsignal(number)
            assert callable(handler)
            handler(number, None)  # as the signal would; a real one could end the test runner
        return update(state, *rest)

    monkeypatch.setattr(loop, "one_step", interrupted)
    handler = signal.getsignal(number)
    out = tmp_path / "run"
    with pytest.raises(raised):
        do_run(tiny_config(), folders, options(out, drawings=drawings, checkpoint_minutes=60.0))
    assert checkpoint(out)["step"] == 2
    assert signal.getsignal(number) is handler


WORKERS = """
from toonbox.learn.workers import quiet_worker, worker_pool
if __name__ == "__main__":
    with worker_pool(1) as pool:
        pool.submit(quiet_worker).result()
        print("ready", flush=True)
        input()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_main_process_alone(tmp_path: Path, number: int) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    main = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert main.stdin is not None
    assert main.stdout is not None
    assert main.stdout.readline() == "ready\n"
    main.send_signal(number)
    main.wait()
    assert main.stdout.read() == "", "at the end of the file nobody has it open any more"
    main.stdin.close()
    main.stdout.close()


STARTING = """
import os, signal
from multiprocessing import active_children
from toonbox.errors import TrainingError
from toonbox.learn.workers import QuietContext, quiet_worker, worker_pool

class Dying:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    with worker_pool(1) as pool:
        found = pool.submit(os.getpid)
        for each in active_children():
            os.kill(each.pid, signal.SIGINT)
            os.kill(each.pid, signal.SIGTERM)
        assert found.result() == each.pid
    from torch.utils.data import DataLoader
    try:
        with worker_pool(1):
            list(DataLoader(Dying(), num_workers=1, multiprocessing_context=QuietContext()))
    except TrainingError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_workers_outlive_signals_while_they_start_and_are_missed_if_killed(tmp_path: Path) -> None:
    script = tmp_path / "starting.py"
    script.write_text(STARTING)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a worker process was killed")


def test_lists_of_pictures_hold_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders
) -> None:
    monkeypatch.chdir(folders[0].parent)
    data, _ = inspect(Path("photos"), [Path("cartoons")])
    data.save(tmp_path / "data.json")
    monkeypatch.chdir(tmp_path)
    found = TrainingData.load(tmp_path / "data.json")
    found.check_files()
    assert found.cartoons[0] == folders[1] / "00.png"


def test_validation_photos_are_no_cartoons_and_no_faces(tmp_path: Path, folders) -> None:
    (tmp_path / "linked").symlink_to(folders[0])
    data, _ = inspect(folders[0], [tmp_path / "linked", folders[1]], folders[0], folders[0])
    kept = sorted(data.photos)
    assert [file.resolve() for file in data.cartoons[:6]] == kept
    assert data.cartoons[6:] == sorted(folders[1].iterdir())
    assert data.face_photos == data.face_cartoons == kept


def test_a_run_that_goes_on_keeps_its_photos_and_gets_faces(folders) -> None:
    photos, cartoons = (sorted(folder.iterdir()) for folder in folders)
    before = TrainingData(photos[:5], [], validation=photos[5:6])
    data, _ = inspect(folders[0], [folders[1]], *folders, before)
    assert (data.photos, data.validation) == (photos[:5], photos[5:6])
    assert data.face_photos == [*photos[:5], *photos[6:]]
    assert data.cartoons == data.face_cartoons == cartoons
    faces = replace(before, face_photos=photos[7:])
    data, _ = inspect(folders[0], [folders[1]], before=faces)
    assert (data.photos, data.face_photos) == (faces.photos, faces.face_photos)


def test_what_cannot_be_written_is_named(tmp_path: Path, folders, tiny_config) -> None:
    (tmp_path / "file").touch()
    data = TrainingData(sorted(folders[0].iterdir()), [])
    with pytest.raises(OutputError, match=r"file/run/config\.toml cannot be written: Not a dir"):
        prepare_run(tiny_config(), tmp_path / "file/run", data)
    with pytest.raises(OutputError, match="file/drawings cannot be made: Not a directory"):
        prepare_drawings(tiny_config(), data, options(tmp_path / "file/run"))


def test_a_checkpoint_that_cannot_be_written_is_named(tmp_path: Path, tiny_config) -> None:
    resource = pytest.importorskip("resource")
    state = new_state(tiny_config(), new_fabric(options(tmp_path)), None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # as a disk that is full
    try:
        with pytest.raises(OutputError, match=r"checkpoint\.pt cannot be written: File too large"):
            save(state, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_missing_device_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--device cuda --devices 1: "):
        new_fabric(options(tmp_path, device="cuda"))


def test_a_gone_picture_stops_a_run_that_goes_on(straight: Path, tmp_path: Path) -> None:
    lists = json.loads((straight / "data.json").read_text())
    lists["cartoons"].append(str(tmp_path / "gone.png"))
    file = tmp_path / "data.json"
    file.write_text(json.dumps(lists))
    with pytest.raises(DataError, match=r"gone\.png: no longer exists"):
        TrainingData.load(file).check_files()


@pytest.mark.parametrize("text", ["", '{"photos": [', "{}", "[]", '{"photos": 1}'])
def test_damaged_lists_of_pictures_are_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "data.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"data\.json: is not the list of pictures of a run"):
        TrainingData.load(file)


def test_faces_and_black_and_white_photos_find_their_place(tmp_path: Path, folders) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in folders[0].iterdir():
        (photos / file.name).write_bytes(file.read_bytes())
    with Image.open(next(folders[0].iterdir())) as image:
        image.convert("L").transpose(Image.Transpose.ROTATE_180).save(photos / "grey.png")
    data, reports = inspect(photos, [folders[1]], folders[0], folders[1])
    assert [f.name for f in reports[0].problems["black-and-white"]] == ["grey.png"]
    used = [*data.photos, *data.validation]
    assert "grey.png" not in {f.name for f in used}
    assert len(used) == 12
    assert sorted(data.face_photos) == sorted(folders[0].iterdir())
    assert data.face_cartoons == data.cartoons


def test_one_photo_is_too_few(tmp_path: Path, folders) -> None:
    (tmp_path / "a.png").write_bytes((folders[0] / "00.png").read_bytes())
    with pytest.raises(DataError, match="at least two"):
        inspect(tmp_path, [folders[1]])


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(
    tmp_path: Path, folders, tiny_config, vgg_file: Path, drawings: Path
) -> None:
    config = tmp_path / "config.toml"
    # One step from random weights: Adam's steps, signs at first, would enlarge rounding errors.
    values = {
        "generator": {"base_channels": 4, "stages": 2, "residual_blocks": 1, "residual": False},
        "discriminators": {"learning_rate": 1e-9},
    }
    save_config(tiny_config(steps=1, pretrain={"steps": 0}, **values), config)
    common = ["train", "--device", "cpu", "--workers", "0", "--vgg", vgg_file, "--config", config]
    common += ["--photos", folders[0], "--cartoons", folders[1], "--drawings", drawings]
    alone, shared = (
        [*map(str, common), "--devices", devices, "--out", str(tmp_path / devices)]
        for devices in ("1", "2")
    )
    assert in_a_process(run_command, alone) == 0
    done = subprocess.run(
        [sys.executable, "-m", "toonbox", *shared],
        capture_output=True, text=True, env=one_thread(), timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = (checkpoint(tmp_path / name) for name in ("1", "2"))
    for part in ("generator_optimizer", "surface_optimizer", "texture_optimizer"):
        for index, moments in one[part]["state"].items():
            # The first moment is a sum of the gradients themselves.
            expected, found = moments["exp_avg"], two[part]["state"][index]["exp_avg"]
            scale = expected.abs().max() + 1e-12
            assert (found - expected).abs().max() / scale < 1e-3, (part, index)


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


KNOBBED = {"base_channels": 4, "stages": 2, "residual_blocks": 1, "knobs": True}


def lively(**values: Any) -> Generator:
    """A generator that does something."""
    torch.manual_seed(3)
    network = Generator(GeneratorConfig(**values))
    torch.nn.init.normal_(network.head.weight, std=0.05)
    return network.eval()


@pytest.mark.usefixtures("without_processes")
def test_a_run_begins_with_another_ones_weights(tiny_config, folders, tmp_path: Path) -> None:
    config = tiny_config(generator=KNOBBED, steps=0, pretrain={"steps": 1, "learning_rate": 1e-9})
    data, _ = inspect(folders[0], [folders[1]])
    start = lively(**KNOBBED)
    prepare_run(config, tmp_path / "run", data)
    train(config, data, options(tmp_path / "run"), Vgg(), None, start=start)
    ended = load_generator(tmp_path / "run/generator.safetensors")
    for name, value in ended.state_dict().items():
        torch.testing.assert_close(value, start.state_dict()[name], atol=1e-6, rtol=0)


@pytest.mark.usefixtures("without_processes")
def test_a_smaller_run_begins_near_a_larger_start(tiny_config, folders, tmp_path: Path) -> None:
    start = lively(base_channels=6, stages=2, residual_blocks=2, knobs=True)
    pretrain = {"steps": 1, "learning_rate": 1e-9}
    config = tiny_config(generator=KNOBBED, steps=0, pretrain=pretrain)
    data, _ = inspect(folders[0], [folders[1]])
    prepare_run(config, tmp_path / "run", data)
    train(config, data, options(tmp_path / "run"), None, None, start=start)
    ended = load_generator(tmp_path / "run/generator.safetensors")
    photo = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted, drawn = start(photo), ended(photo)
    assert (drawn - wanted).abs().mean() < 0.8 * (photo - wanted).abs().mean()


def test_a_start_of_another_size_is_refused(tiny_config, folders, tmp_path: Path) -> None:
    data, _ = inspect(folders[0], [folders[1]])
    prepare_run(tiny_config(), tmp_path / "run", data)
    with pytest.raises(ConfigError, match="cannot fit"):
        train(tiny_config(), data, options(tmp_path / "run"), Vgg(), None, start=lively(**KNOBBED))


@pytest.mark.usefixtures("without_processes")
def test_a_run_held_to_its_start_learns_what_that_draws(
    tiny_config, folders, tmp_path: Path
) -> None:
    start = lively(base_channels=8, stages=2, residual_blocks=1, knobs=True)
    pretrain = {"kind": "teacher", "steps": 40, "learning_rate": 3e-3}
    config = tiny_config(generator=KNOBBED, steps=1, pretrain=pretrain)
    data, _ = inspect(folders[0], [folders[1]])
    prepare_run(config, tmp_path / "run", data)
    run = options(tmp_path / "run", sample_every=100, checkpoint_minutes=9.0)
    train(config, data, run, Vgg(), None, start=start)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("pre-training/reconstruction")]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert events.Scalars("adversarial/reconstruction")[0].value < 1.5 * losses[0]


@pytest.mark.usefixtures("without_processes")
def test_a_finished_run_gets_the_generator_that_it_lacks(
    straight: Path, tmp_path: Path, drawings: Path
) -> None:
    run = options(tmp_path / "run", drawings=drawings)
    shutil.copytree(straight, run.out)
    (run.out / "generator.safetensors").unlink()
    config, data = load_config(run.out / "config.toml"), TrainingData.load(run.out / "data.json")
    assert train(config, data, run, Vgg(), None) == 6
    name = "generator.safetensors"
    assert (run.out / name).read_bytes() == (straight / name).read_bytes()


@pytest.mark.parametrize("size", [0, 4, 5000])
def test_a_damaged_checkpoint_is_named(straight: Path, tmp_path: Path, size: int) -> None:
    run = options(tmp_path / "run")
    shutil.copytree(straight, run.out)
    checkpoint = run.out / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])
    config, data = load_config(run.out / "config.toml"), TrainingData.load(run.out / "data.json")
    named = r"run/checkpoint\.pt: .* is damaged; --start a new run with .*run$"
    with pytest.raises(TrainingError, match=named):
        prepare_run(config, run.out, data)
    with pytest.raises(TrainingError, match=named):
        train(config, data, run, Vgg(), None)


def test_fewer_steps_than_are_done_are_refused(straight: Path, tiny_config, tmp_path: Path) -> None:
    data = TrainingData.load(straight / "data.json")
    before = (straight / "config.toml").read_text()
    with pytest.raises(ConfigError, match=r"checkpoint\.pt: 6 steps are done, more than the 5"):
        prepare_run(tiny_config(steps=3, pretrain={"steps": 2}), straight, data)
    assert (straight / "config.toml").read_text() == before
    with pytest.raises(ConfigError, match="run: 0 steps"):
        prepare_run(tiny_config(steps=0, pretrain={"steps": 0}), tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_processes")
def test_dashes_alone_are_compared_with_the_drawing(tiny_config, folders, tmp_path: Path) -> None:
    run, files = options(tmp_path / "run"), sorted(folders[0].iterdir())
    data = TrainingData(files[:2], files[2:4])
    weights = {"reconstruction": 0.0, "dashes": 1.0}
    config = tiny_config(steps=1, pretrain={"kind": "drawing", "steps": 0}, weights=weights)
    (batch,) = batches(config, data, run, prepare_drawings(config, data, run))
    assert {"target", "left_out"} <= set(batch)


def test_a_checkpoint_keeps_its_names(straight: Path) -> None:
    assert set(checkpoint(straight)) == {
        "generator", "average", "generator_optimizer", "step",
        "surface_discriminator", "surface_optimizer",
        "texture_discriminator", "texture_optimizer",
    }  # fmt: skip


@pytest.mark.usefixtures("without_processes")
def test_faces_are_drawn_too(tiny_config, folders, tmp_path: Path) -> None:
    config = tiny_config(steps=0)
    data = TrainingData(sorted(folders[0].iterdir()), [], validation=[next(folders[0].iterdir())])
    faces = replace(data, photos=data.photos[:2], face_photos=data.photos[2:5])
    drawn = prepare_drawings(config, faces, options(tmp_path / "run"))
    assert list(drawn) == ["photo"]
    assert (len(drawn["photo"].files), len(drawn["photo"].faces)) == (2, 3)


@pytest.mark.usefixtures("without_processes")
def test_cartoons_are_drawn_in_the_look_of_the_discriminators(
    tiny_config, folders, tmp_path: Path
) -> None:
    run = options(tmp_path / "run")
    files = sorted(folders[0].iterdir())
    data = TrainingData(files[:3], files[3:5], validation=files[:1])
    white = {"look": {"saturation": 0.0, "paper": 1.0, "line": 0.0}}
    config = tiny_config(steps=1, pretrain={"kind": "identity", "steps": 0}, discriminators=white)
    drawn = prepare_drawings(config, data, run)
    assert list(drawn) == ["cartoon"]
    assert len(drawn["cartoon"].files) == 2
    (batch,) = batches(config, data, run, drawn)
    (plain,) = batches(config, data, run, {})
    assert batch["cartoon"].shape == plain["cartoon"].shape
    assert batch["cartoon"].min() >= 250  # paper shines through everything
    assert plain["cartoon"].min() < 250
    assert batch["photo"].equal(plain["photo"])
