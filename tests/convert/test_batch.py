import threading

import numpy as np
import pytest
from PIL import Image

from picture_files import OddError
from stub_style import StubStyle
from toonbox.convert.job import Converter, Job, convert_all
from toonbox.engine.style import load_style
from toonbox.errors import OutputError, PictureError, ToonboxError, UnexpectedError, UsageError
from toonbox.images.picture import decode
from toonbox.options import StyleOptions
from toonbox.parallel import count_jobs


@pytest.fixture
def style(tiny_style, tmp_path_factory):
    return load_style(tiny_style(to=tmp_path_factory.mktemp("styles")))


def photos(folder, count):
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        paths.append(folder / f"{number:03}.png")
        rgb = random.integers(0, 256, (20, 26 + number % 5, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(paths[-1])
    return paths


def jobs(paths, on_existing="refuse"):
    return [Job(path, path.parent / "out" / path.name, on_existing) for path in paths]


def convert(wanted, style, **how):
    return convert_all(wanted, Converter(style), **how)


@pytest.mark.parametrize("parallel", [1, 3, None])
def test_every_picture_is_written_and_reported_in_order(parallel, tmp_path, style):
    wanted = jobs(photos(tmp_path, 12))
    outcomes = list(
        convert_all(wanted, Converter(style, StyleOptions(strength=0.5)), parallel=parallel)
    )
    assert [outcome.source for outcome in outcomes] == [job.source for job in wanted]
    for number, outcome in enumerate(outcomes):
        assert (outcome.status, outcome.error) == ("ok", None)
        assert outcome.size == (26 + number % 5, 20)
        assert outcome.seconds > 0
        expected = style(decode(outcome.source).rgb, strength=0.5)
        np.testing.assert_array_equal(decode(outcome.target).rgb, expected)


def test_nothing_to_do(style):
    assert list(convert([], style)) == []


def test_failures_stay_with_their_pictures(tmp_path, style):
    paths = photos(tmp_path, 5)
    paths[1].write_bytes(b"")
    paths[3].unlink()
    wanted = jobs(paths)
    wanted[4] = Job(paths[4], paths[0] / "in-a-file" / "a.png")
    outcomes = list(convert(wanted, style, parallel=2))
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok", "failed", "failed"]
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [type(None), PictureError, type(None), PictureError, OutputError]
    assert [outcome.size for outcome in outcomes] == [(26, 20), None, (28, 20), None, None]


def test_what_to_do_with_targets_that_are_there(tmp_path, style):
    path = photos(tmp_path, 1)[0]
    target = tmp_path / "cartoon.png"
    for on_existing, status in (("refuse", "failed"), ("skip", "skipped"), ("overwrite", "ok")):
        target.write_bytes(b"mine")
        (outcome,) = convert([Job(path, target, on_existing)], style)
        assert outcome.status == status
        assert (target.read_bytes() == b"mine") == (status != "ok")


def test_too_much_for_the_memory_is_one_pictures_failure(tmp_path, style):
    def greedy(photo):
        if photo.shape[1] == 27:
            raise MemoryError
        return style(photo)

    outcomes = list(convert(jobs(photos(tmp_path, 3)), StubStyle(style, greedy)))
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok"]
    assert "needs more memory than is available" in str(outcomes[1].error)


def test_wrong_options_stop_everything(tmp_path, style):
    with pytest.raises(UsageError, match="no knob texture"):
        list(convert_all(jobs(photos(tmp_path, 3)), Converter(style, StyleOptions(texture=1))))
    assert not (tmp_path / "out").exists()


STAGES = {
    "the target": "toonbox.convert.job.refuse_existing",
    "the header": "toonbox.images.picture.open_image",
    "decoding": "toonbox.images.picture.load",
    "metadata": "toonbox.images.picture.read_metadata",
    "the network": "toonbox.engine.session.OnnxRuntimeSession.run",
    "encoding": "toonbox.images.encode.image_of",
    "the disk": "toonbox.atomic.os.fsync",
}


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__


def raising(error):
    def broken(*_, **__):
        raise error

    return broken


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("error", [OddError("odd"), AssertionError(), StopIteration()], ids=repr)
def test_whatever_is_raised_for_a_picture_is_its_failure(
    stage, error, tmp_path, tiny_style, monkeypatch
):
    style = load_style(tiny_style(to=tmp_path / "styles"), engine="onnxruntime")
    wanted = jobs(photos(tmp_path, 3))
    with monkeypatch.context() as patched:
        patched.setattr(stage, raising(error))
        outcomes = list(convert(wanted, style, parallel=2))
    for job, outcome in zip(wanted, outcomes, strict=True):
        assert outcome.status == "failed"
        assert isinstance(outcome.error, ToonboxError)
        assert str(job.source) in str(outcome.error)
        assert error in causes(outcome.error)
    out = tmp_path / "out"
    assert not out.exists() or not list(out.iterdir())
    assert {one.status for one in convert(wanted, style)} == {"ok"}


def test_the_others_are_done(tmp_path, style):
    def picky(photo):
        if photo.shape[1] == 27:
            raise OddError("odd")
        return style(photo)

    outcomes = list(convert(jobs(photos(tmp_path, 3)), StubStyle(style, picky)))
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok"]
    assert isinstance(outcomes[1].error, UnexpectedError)
    assert str(outcomes[1].error).endswith("001.png: unexpected OddError: odd")


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_ctrl_c_is_no_picture_s_failure_and_ends_the_threads(
    stage, error, tmp_path, tiny_style, monkeypatch
):
    style = load_style(tiny_style(to=tmp_path / "styles"), engine="onnxruntime")
    before = threading.active_count()
    monkeypatch.setattr(stage, raising(error))
    with pytest.raises(type(error)):
        list(convert(jobs(photos(tmp_path, 3)), style))
    assert threading.active_count() == before


def test_pictures_are_done_side_by_side(tmp_path, style):
    together = threading.Barrier(3)

    def waiting_for_each_other(photo):
        together.wait(3600)
        return style(photo)

    acting = StubStyle(style, waiting_for_each_other)
    outcomes = list(convert(jobs(photos(tmp_path, 6)), acting, parallel=3))
    assert [outcome.status for outcome in outcomes] == ["ok"] * 6


def test_jobs_are_no_more_than_there_are_things_to_do():
    assert count_jobs([1, 2], 5) == 2
    assert count_jobs([], None) == 1
    assert count_jobs(iter([]), 5) == 5
    with pytest.raises(UsageError, match="jobs must be at least 1, got 0"):
        count_jobs([1], 0)


def test_only_a_few_pictures_are_on_their_way(tmp_path, style):
    taken, told, most = 0, 0, 0

    def counted():
        nonlocal taken
        for job in jobs(photos(tmp_path, 30)):
            taken += 1
            yield job

    for _ in convert(counted(), style, parallel=2):
        most = max(most, taken - told)
        told += 1
    assert told == 30
    assert most <= 2 * 2


def test_stop_finishes_what_is_begun(tmp_path, style):
    done = 0

    def counting(photo):
        nonlocal done
        done += 1
        return style(photo)

    wanted = jobs(photos(tmp_path, 20))
    outcomes = list(convert(wanted, StubStyle(style, counting), parallel=2, stop=lambda: done >= 5))
    assert len(outcomes) in (5, 6)  # the second thread may have begun one more
    assert [outcome.source for outcome in outcomes] == [
        job.source for job in wanted[: len(outcomes)]
    ]
    assert sorted((tmp_path / "out").iterdir()) == [outcome.target for outcome in outcomes]
