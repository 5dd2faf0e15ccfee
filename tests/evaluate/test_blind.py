import json
import shutil

import numpy as np
import pytest
from PIL import Image

from toonbox.convert.compare import FolderColumn
from toonbox.errors import AnswersError, OutputError, PictureError, StyleError, UsageError
from toonbox.learn.evaluate.blind import (
    Pairs,
    choose_photos,
    read_answers,
    read_key,
    tally,
    wilson,
)

COLOURS = {"warm": (200, 40, 30), "cold": (20, 60, 190)}


def picture(file, colour, size=(144, 96), **options):
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, colour).save(file, **options)
    return file


@pytest.fixture
def photos(tmp_path):
    return [picture(tmp_path / "photos" / f"{name}.png", "grey") for name in "abcdefghijkl"]


@pytest.fixture
def contenders(tmp_path, photos):
    """Make two folders of finished pictures, each of one colour."""
    for label, colour in COLOURS.items():
        for photo in photos:
            picture(tmp_path / label / f"{photo.stem}.toon.png", colour)
    return [FolderColumn(label, tmp_path / label) for label in COLOURS]


def make(folder, photos, contenders, **options):
    pairs = Pairs(folder, contenders, **options)
    for photo in photos:
        pairs.add(photo)
    _, key = pairs.write()
    return read_key(key)


def nearest(rgb):
    return min(COLOURS, key=lambda label: np.abs(np.subtract(COLOURS[label], rgb)).sum())


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_photos_may_be_larger_than_pillow_would_open(tmp_path, photos, contenders, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 144 * 96 // 2 - 1)
    assert list(make(tmp_path / "pairs", photos[:1], contenders).pairs) == ["01"]


def test_the_key_tells_which_side_is_whose(tmp_path, photos, contenders):
    key = make(tmp_path / "pairs", photos, contenders)
    assert key.contenders == ["warm", "cold"]
    assert list(key.pairs) == [f"{number:02d}" for number in range(1, 13)]
    assert [pair["photo"] for pair in key.pairs.values()] == [photo.name for photo in photos]
    for number, pair in key.pairs.items():
        drawn = Image.open(tmp_path / "pairs" / "sheets" / f"{number}.png")
        for side, x in (("left", drawn.width // 2), ("right", drawn.width - 20)):
            file = tmp_path / "pairs" / "pictures" / f"{number}-{side}.jpg"
            assert nearest(np.asarray(Image.open(file)).mean((0, 1))) == pair[side]
            assert nearest(drawn.getpixel((x, drawn.height - 20))) == pair[side]
    assert {pair["left"] for pair in key.pairs.values()} == set(COLOURS)


def test_what_judges_get_names_nobody(tmp_path, photos, contenders):
    make(tmp_path / "pairs", photos[:2], contenders)
    files = sorted(file for file in (tmp_path / "pairs").rglob("*") if file.is_file())
    assert [file.relative_to(tmp_path / "pairs").as_posix() for file in files] == [
        "index.html",
        *(f"pictures/0{n}-{name}.jpg" for n in (1, 2) for name in ("left", "photo", "right")),
        "sheets/01.png", "sheets/02.png",
    ]  # fmt: skip
    assert (tmp_path / "pairs.key.json").is_file()
    for file in files:
        data = file.read_bytes()
        assert not [word for word in (b"warm", b"cold", b"toon.png") if word in data]


def test_sides_follow_the_seed_and_the_contenders(tmp_path, photos, contenders):
    def lefts(folder, **options):
        key = make(tmp_path / folder, photos, contenders, **options)
        return key.identity, [pair["left"] for pair in key.pairs.values()]

    first = lefts("one")
    assert lefts("two") == first
    assert lefts("three", seed=1) != first
    contenders[0].label = "other"
    assert [label == "cold" for label in lefts("4")[1]] != [label == "cold" for label in first[1]]


def test_all_three_pictures_are_alike(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "secret"
    photo = picture(tmp_path / "photos" / "a.jpg", "grey", (182, 100), exif=exif)
    picture(tmp_path / "warm" / "a.jpg", COLOURS["warm"], (90, 50), exif=exif)
    picture(tmp_path / "cold" / "a.png", COLOURS["cold"], (176, 100))
    folders = [FolderColumn(label, tmp_path / label) for label in COLOURS]
    make(tmp_path / "pairs", [photo], folders)
    for name in ("photo", "left", "right"):
        image = Image.open(tmp_path / "pairs" / "pictures" / f"01-{name}.jpg")
        assert image.size == (88, 50)
        assert not image.getexif()
    data = (tmp_path / "pairs" / "pictures" / "01-photo.jpg").read_bytes()
    assert b"secret" not in data


def test_finished_pictures_are_found_by_name(tmp_path):
    for name in ("a.b.png", "a.jpg", "b.toon.webp", "ab.png", "c.txt"):
        (tmp_path / name).touch()
    folder = FolderColumn("it", tmp_path)
    found = {name: folder.find(tmp_path / "photos" / name) for name in ("a.heic", "b.png", "c.png")}
    assert found == {"a.heic": tmp_path / "a.jpg", "b.png": tmp_path / "b.toon.webp", "c.png": None}
    for name in ("p.edit.toon.jpg", "p.toon.jpg", "q.heic.png", "r.edit.toon.jpg"):
        (tmp_path / name).touch()
    folder = FolderColumn("it", tmp_path)
    found = [folder.find(tmp_path / name) for name in ("p.jpg", "p.edit.jpg", "q.heic", "r.jpg")]
    wanted = [tmp_path / name for name in ("p.toon.jpg", "p.edit.toon.jpg", "q.heic.png")]
    assert found == [*wanted, None]
    (tmp_path / "empty").mkdir()
    with pytest.raises(StyleError, match="neither a style nor pictures"):
        FolderColumn("it", tmp_path / "empty")


def test_a_photo_that_fails_leaves_nothing(tmp_path, photos, contenders):
    picture(tmp_path / "cold" / "a.toon.png", "blue", (96, 144))
    (tmp_path / "cold" / "b.toon.png").write_text("no picture")
    pairs = Pairs(tmp_path / "pairs", contenders)
    with pytest.raises(PictureError, match=r"a.toon.png: 96 × 144, not the shape .* 144 × 96"):
        pairs.add(photos[0])
    with pytest.raises(PictureError, match=r"b.toon.png: is text"):
        pairs.add(photos[1])
    with pytest.raises(PictureError, match=r"new.png: .*warm has no picture of that name"):
        pairs.add(picture(tmp_path / "photos" / "new.png", "grey"))
    assert not (tmp_path / "pairs").exists()
    pairs.add(photos[2])
    assert list(pairs.pairs) == ["01"]


def test_photos_are_drawn_by_the_seed_whoever_contends(tmp_path, photos, contenders, caplog):
    chosen = choose_photos(photos, contenders, 5, seed=3)
    assert len(set(chosen)) == 5
    assert (
        chosen
        == choose_photos(photos, contenders[:1], 5, seed=3)
        == choose_photos(photos, [], 5, seed=3)
    )
    assert chosen != choose_photos(photos, contenders, 5, seed=4)
    assert not caplog.records
    (tmp_path / "cold" / "a.toon.png").unlink()
    contenders = [FolderColumn(label, tmp_path / label) for label in COLOURS]
    everyone = choose_photos(photos, [], None, seed=3)
    fewer = choose_photos(photos, contenders, None, seed=3)
    assert fewer == [photo for photo in everyone if photo != photos[0]]
    assert "skipped photos without a picture in " in caplog.text
    assert "cold: 1" in caplog.text
    with pytest.raises(StyleError, match="no pictures of these photos"):
        choose_photos(photos[:1], contenders, None, seed=3)


def test_pairs_are_replaced_only_if_told(tmp_path, photos, contenders):
    folder = tmp_path / "pairs"
    make(folder, photos[:3], contenders)
    with pytest.raises(OutputError, match="is not empty; --force"):
        Pairs(folder, contenders)
    make(folder, photos[:1], contenders, overwrite=True)
    assert [file.name for file in (folder / "sheets").iterdir()] == ["01.png"]
    shutil.rmtree(folder)
    with pytest.raises(OutputError, match=r"pairs.key.json exists already"):
        Pairs(folder, contenders)


def test_nobody_is_compared_with_itself(tmp_path, contenders):
    with pytest.raises(UsageError, match="warm with itself"):
        Pairs(tmp_path / "pairs", contenders[:1] * 2)


@pytest.fixture
def key(tmp_path):
    values = {
        "id": "f00",
        "contenders": ["warm", "cold"],
        "pairs": {
            "01": {"photo": "a.png", "left": "warm", "right": "cold"},
            "02": {"photo": "b.png", "left": "cold", "right": "warm"},
            "03": {"photo": "c.png", "left": "cold", "right": "warm"},
        },
    }
    file = tmp_path / "key.json"
    file.write_text(json.dumps(values))
    return read_key(file)


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "f00", "answers": {"01": "left", "02": "same", "03": "right"}}',
        "\ufeff# a judge\n01 left\n\n 2\tSame  could not tell\n03 RIGHT",
    ],
)
def test_answers_of_the_page_and_of_a_text_file(text, tmp_path, key):
    (tmp_path / "answers").write_text(text, encoding="utf-8")
    answers = read_answers(tmp_path / "answers", key)
    assert answers == {"01": "left", "02": "same", "03": "right"}
    assert [key.preferred(*answer) for answer in answers.items()] == ["warm", "same", "warm"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("04 left", "no pair 04; the key has 3"),
        ("hello", "no pair hello"),
        ("01 up", "pair 01: 'up' is not left, right or same"),
        ("01", "pair 01: '' is not"),
        ("01 photo", "pair 01: 'photo' is not"),
        ("1 left\n01 left", "pair 01 is answered twice"),
        ("# nothing\n\n", "has no answers"),
        ("{", "is not an export of the page of pairs"),
        ('{"id": "f00"}', "is not an export of the page"),
        ('{"id": "f00", "answers": ["left"]}', "is not an export of the page"),
        ('{"id": "f00", "answers": {}}', "has no answers"),
        ('{"id": "f00", "answers": {"01": ["left"]}}', "['left'] is not left"),
        ('{"id": "bad", "answers": {"01": "left"}}', "is about other pairs (bad, not f00)"),
        (b"\xff\xfe", "is not text"),
        (None, "No such file"),
    ],
)
def test_answers_that_cannot_be_counted(text, reason, tmp_path, key):
    file = tmp_path / "answers.txt"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AnswersError) as caught:
        read_answers(file, key)
    assert str(caught.value).startswith(f"{file}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"id": "1", "contenders": ["a", "b"], "pairs": []}',
        '{"id": "1", "contenders": ["a", "b"], "pairs": {"01": {"left": "a", "right": "b"}}}',
        '{"id": "1", "contenders": ["a", "b"],'
        ' "pairs": {"01": {"photo": "x", "left": "a", "right": "c"}}}',
    ],
)
def test_what_is_no_key(text, tmp_path):
    (tmp_path / "key.json").write_text(text)
    with pytest.raises(AnswersError, match=r"key.json: is not a key"):
        read_key(tmp_path / "key.json")


def test_tally(key):
    judges = [{"01": "left", "02": "right", "03": "left"}, {"01": "left", "03": "same"}]
    assert tally(key, judges).splitlines() == [
        "warm    3 of 4   75 % [30, 95]",
        "cold    1 of 4   25 % [5, 70]",
        "same    1",
        "1 not answered",
    ]
    assert tally(key, [{"01": "same", "02": "same", "03": "same"}]).splitlines() == [
        "warm    0 of 0", "cold    0 of 0", "same    3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0, 0.1611)),
     (1, 29, (0.0061, 0.1718))],
)  # fmt: skip
def test_wilson(successes, trials, expected):
    assert wilson(successes, trials) == pytest.approx(expected, abs=5e-5)
    low, high = wilson(trials - successes, trials)
    assert (1 - high, 1 - low) == pytest.approx(expected, abs=5e-5)
