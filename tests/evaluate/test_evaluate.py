from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icc_profiles import DISPLAY_P3, reference, rgb_profile
from toonbox.errors import DataError, PictureError, UsageError
from toonbox.learn.evaluate.classifier import ClassifierConfig
from toonbox.learn.evaluate.evaluate import Reader, Subject, evaluate, read_srgb, shrunk
from toonbox.learn.evaluate.feature_networks import CropRule, FeatureNetwork
from toonbox.learn.evaluate.measures import means


def moments(unit):
    """Describe crops by the mean and deviation of each channel."""
    return np.concatenate([unit.mean(axis=(2, 3)), unit.std(axis=(2, 3))], axis=1)


COLOURS = FeatureNetwork("colours", 32, moments)


def draw(folder: Path, count: int, colour, seed: int) -> list[Path]:
    """Make pictures of noise about a colour, short side 80."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    files = []
    for index in range(count):
        noise = random.normal(colour, 20, (80, 96, 3)) + random.normal(0, 10, 3)
        files.append(folder / f"{index}.png")
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(files[-1])
    return files


@pytest.fixture
def photos(tmp_path):
    return draw(tmp_path / "photos", 6, (60, 60, 60), 0)


@pytest.fixture
def cartoons(tmp_path):
    return draw(tmp_path / "cartoons", 8, (200, 160, 60), 1)


def recoloured(photo):
    return np.clip(photo + np.array([140, 100, 0]), 0, 255).astype(np.uint8)


SAME = Subject("same", 64, lambda photo: photo)
DRAWN = Subject("drawn", 64, recoloured)


def test_a_style_of_the_cartoons_colours_is_nearer_to_them(photos, cartoons, tmp_path):
    found = evaluate([SAME, DRAWN], photos, cartoons, [COLOURS], work=tmp_path / "work")
    assert (found.photos, found.cartoons, found.train_photos) == (6, 8, 0)
    assert [row.name for row in found.results] == ["photos", "same", "drawn"]
    assert found.rules == {"colours": CropRule(size=32)}
    start, same, drawn = (row.distances["colours"] for row in found.results)
    assert same == start
    assert start.to_photos == pytest.approx(0, abs=1e-6)
    assert start.called_cartoon == 0
    assert drawn.called_cartoon > 0.75
    assert drawn.to_cartoons.high < start.to_cartoons.low
    assert drawn.kernel.high < start.kernel.low
    assert drawn.to_photos > 0.1


def test_rows_hold_measures_and_outputs_at_the_working_size(photos, cartoons, tmp_path):
    found = evaluate([DRAWN], photos, cartoons, [], work=tmp_path / "work")
    row = found.results[1]
    assert row.distances == {}
    assert [output.photo for output in row.outputs] == photos
    assert row.measures == means([output.measures for output in row.outputs])
    assert row.measures["colour_drift"] > 20
    original = np.asarray(Image.open(photos[2]))
    written = np.asarray(Image.open(row.outputs[2].file))
    np.testing.assert_array_equal(written, recoloured(shrunk(original, 64)))


def test_the_probe_learns_from_training_photos_where_there_are_any(photos, cartoons, tmp_path):
    # To a probe that knows photos as bright, the dark photos are what cartoons are.
    bright = draw(tmp_path / "bright", 4, (250, 250, 250), 2)
    found = evaluate(
        [DRAWN], photos, cartoons, [COLOURS], work=tmp_path / "work", train_photos=bright
    )
    assert found.train_photos == 4
    assert found.results[0].distances["colours"].called_cartoon > 0.5


def test_training_photos_are_reduced_as_the_judged_ones_are(photos, cartoons, tmp_path):
    found = []
    (tmp_path / "small").mkdir()
    large = draw(tmp_path / "large", 4, (90, 60, 60), 2)
    small = [tmp_path / "small" / file.name for file in large]
    for file, copy in zip(large, small, strict=True):
        Image.fromarray(shrunk(np.asarray(Image.open(file)), 64)).save(copy)
    config = ClassifierConfig(CropRule(64, 32, 2), steps=2, batch_size=8, base_channels=4)
    for name, trained in (("one", large), ("other", small)):
        options = {"work": tmp_path / name, "train_photos": trained, "classifier": config}
        found.append(evaluate([DRAWN], photos, cartoons, [COLOURS], **options))
    one, other = found
    assert one.classification == other.classification
    for row, same in zip(one.results, other.results, strict=True):
        assert row.distances == same.distances


def test_the_same_seed_gives_the_same_result(photos, cartoons, tmp_path):
    one, same, other = (
        evaluate([DRAWN], photos, cartoons, [COLOURS], work=tmp_path / name, seed=seed)
        for name, seed in (("one", 3), ("same", 3), ("other", 4))
    )
    assert one.results[1].distances == same.results[1].distances
    assert one.results[1].distances != other.results[1].distances


@pytest.mark.parametrize("with_training_photos", [False, True])
def test_the_classifier_judges_pictures_it_has_not_seen(
    photos, cartoons, tmp_path, with_training_photos
):
    trained = draw(tmp_path / "more", 4, (60, 60, 60), 3) if with_training_photos else []
    config = ClassifierConfig(CropRule(64, 32, 2), steps=60, batch_size=8, base_channels=4)
    found = evaluate(
        [SAME, DRAWN],
        photos,
        cartoons,
        [],
        work=tmp_path / "work",
        train_photos=trained,
        classifier=config,
    )
    assert found.classification.photos < 0.3
    assert set(found.classification.styles) == {"same", "drawn"}
    assert found.classification.styles["same"] == found.classification.photos
    assert found.classification.styles["drawn"] > 0.7
    assert found.classification.representations["original"] > 0.7


def test_unreadable_pictures_are_named_and_passed_over(photos, cartoons, tmp_path):
    broken, small = tmp_path / "broken.png", tmp_path / "small.png"
    broken.write_bytes(photos[0].read_bytes()[:300])
    Image.new("RGB", (63, 80)).save(small)
    found = evaluate(
        [DRAWN], [broken, *photos], [small, *cartoons], [COLOURS], work=tmp_path / "work"
    )
    assert (found.photos, found.cartoons) == (6, 8)
    assert [message.split(": ")[0] for message in found.unreadable] == [str(broken), str(small)]
    assert "under 64 pixels" in found.unreadable[1]


def test_too_few_readable_pictures_say_why(photos, cartoons, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"usable pictures: 3 of 4\n.*broken\.png: is text"):
        evaluate([DRAWN], [*photos[:3], broken], cartoons, [], work=tmp_path / "work")
    with pytest.raises(DataError, match="usable pictures: 1 of 1"):
        evaluate([DRAWN], photos, cartoons[:1], [COLOURS], work=tmp_path / "again")


@pytest.mark.parametrize(
    ("subjects", "networks", "name"),
    [
        ([DRAWN, DRAWN], [], "drawn"),
        ([Subject("photos", 64, recoloured)], [], "photos"),
        ([DRAWN], [COLOURS, COLOURS], "colours"),
    ],
)
def test_names_must_differ(subjects, networks, name, tmp_path):
    with pytest.raises(UsageError, match=name):
        evaluate(subjects, [], [], networks, work=tmp_path)


def test_every_step_is_counted_in_a_bar(photos, cartoons, tmp_path, monkeypatch):
    told = {}

    def tracked(items, description, total):
        told[description] = [0, total]
        for item in items:
            told[description][0] += 1
            yield item

    monkeypatch.setattr("toonbox.learn.evaluate.evaluate.tracked", tracked)
    evaluate([DRAWN], photos, cartoons, [COLOURS], work=tmp_path / "work", draws=3)
    assert told["drawn"] == [6, 6]
    assert told["colours: cartoons"] == [8, 8]
    assert told["colours: intervals"] == [2, 2]
    assert all(done == total for done, total in told.values())


# Pictures


def test_pictures_are_read_as_shown(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    Image.fromarray(colours).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_srgb(tmp_path / "turned.png"), np.rot90(colours, -1))


def test_pictures_with_a_profile_are_read_as_srgb(tmp_path):
    rgb = np.full((64, 64, 3), (200, 120, 60), np.uint8)
    profile = rgb_profile(DISPLAY_P3)
    Image.fromarray(rgb).save(tmp_path / "wide.png", icc_profile=profile)
    found = read_srgb(tmp_path / "wide.png")
    assert found.dtype == np.uint8
    assert np.abs(found[0, 0] - reference(rgb[0, 0], DISPLAY_P3)).max() < 2
    assert np.abs(found[0, 0].astype(int) - rgb[0, 0]).max() > 5


def test_pictures_of_sixteen_bits_are_rounded_to_eight(tmp_path):
    Image.fromarray(np.full((64, 64), 16592, np.uint16)).save(tmp_path / "deep.png")  # 64.56 of 255
    assert (read_srgb(tmp_path / "deep.png") == 65).all()


def test_an_unreadable_picture_names_its_file(tmp_path):
    with pytest.raises(PictureError, match=r"none\.png"):
        read_srgb(tmp_path / "none.png")


def test_failures_are_looked_at_once(tmp_path, monkeypatch):
    read = Reader()
    missing = tmp_path / "none.png"
    assert list(read([missing], 0, "once")) == []
    monkeypatch.delattr("toonbox.learn.evaluate.evaluate.read_srgb")
    assert list(read([missing], 0, "again")) == []
    assert list(read.failures) == [missing]


def test_photos_are_shrunk_to_their_short_side_and_never_enlarged():
    photo = np.zeros((100, 150, 3), np.uint8)
    assert shrunk(photo, 64).shape == (64, 96, 3)
    assert shrunk(photo.transpose(1, 0, 2), 64).shape == (96, 64, 3)
    assert shrunk(photo, 100) is photo
    assert shrunk(photo, 200) is photo
