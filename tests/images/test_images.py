import io
import logging
import struct
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from picture_files import file_of, smooth
from toonbox.errors import PictureError
from toonbox.images import picture as images
from toonbox.images.encode import encode
from toonbox.images.picture import decode, read_image

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def png(width, height, depth, colour_type, rows, *chunks):
    """Write a PNG by hand, for what Pillow cannot write."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*extra) for extra in chunks)]
    parts += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_colours_of_lossless_formats_are_exact(format):
    picture = decode(file_of(Image.fromarray(RGB), format))
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.rgb.dtype == np.uint8
    assert picture.format == format
    assert picture.alpha is None
    assert (picture.icc_profile, picture.metadata.exif) == (None, None)


def test_content_decides_not_the_name(tmp_path):
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(file_of(Image.fromarray(RGB), "PNG"))
    picture = decode(path)
    assert picture.format == "PNG"
    np.testing.assert_array_equal(picture.rgb, RGB)


def test_grey_becomes_three_equal_channels():
    grey = RGB[..., 0]
    np.testing.assert_array_equal(
        decode(file_of(Image.fromarray(grey))).rgb, np.stack([grey] * 3, axis=-1)
    )


def test_grey_with_alpha():
    grey, alpha = RGB[..., 0], RGB[..., 1]
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    picture = decode(file_of(image))
    np.testing.assert_array_equal(picture.rgb[..., 2], grey)
    np.testing.assert_array_equal(picture.alpha, alpha)


def test_alpha_is_apart_from_colours():
    rgba = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    picture = decode(file_of(Image.fromarray(rgba)))
    np.testing.assert_array_equal(picture.rgb, rgba[..., :3])
    np.testing.assert_array_equal(picture.alpha, rgba[..., 3])


def test_palette_with_and_without_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 90])
    image.putdata([0, 1, 2])
    expected = [[[255, 0, 0], [0, 200, 0], [0, 0, 90]]]
    plain = decode(file_of(image))
    np.testing.assert_array_equal(plain.rgb, expected)
    assert plain.alpha is None
    transparent = decode(file_of(image, transparency=bytes([255, 128, 0])))
    np.testing.assert_array_equal(transparent.rgb, expected)
    np.testing.assert_array_equal(transparent.alpha, [[255, 128, 0]])


def test_one_bit():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode(file_of(image)).rgb, [[[0] * 3, [255] * 3]])


def test_cmyk():
    image = Image.new("CMYK", (2, 1), (0, 255, 255, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    picture = decode(file_of(image, "TIFF"))
    np.testing.assert_array_equal(picture.rgb, [[[255, 0, 0], [0, 0, 0]]])
    assert decode(file_of(image, "JPEG")).rgb.shape == (1, 2, 3)


def test_sixteen_bit_grey_is_kept():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    for data in (
        file_of(Image.fromarray(values), "PNG"),
        file_of(Image.fromarray(values), "TIFF"),
        file_of(Image.fromarray(values), "PPM"),
    ):
        picture = decode(data)
        assert picture.rgb.dtype == np.uint16
        assert picture.grey
        np.testing.assert_array_equal(picture.rgb, np.repeat(values[..., None], 3, axis=2))


@pytest.mark.parametrize(("depth", "rows"), [(1, b"\0\x40"), (2, b"\0\x10"), (4, b"\0\x01")])
def test_grey_of_few_bits_with_a_transparent_value(depth, rows):
    picture = decode(png(2, 1, depth, 0, rows, (b"tRNS", b"\0\1")))
    np.testing.assert_array_equal(picture.rgb[..., 0], [[0, 255 // (2**depth - 1)]])
    np.testing.assert_array_equal(picture.alpha, [[255, 0]])


def test_sixteen_bit_grey_with_a_transparent_value():
    values = np.array([[0, 256, 65535]], ">u2")
    data = png(3, 1, 16, 0, b"\0" + values.tobytes(), (b"tRNS", struct.pack(">H", 65535)))
    picture = decode(data)
    np.testing.assert_array_equal(picture.rgb[..., 0], [[0, 256, 65535]])
    np.testing.assert_array_equal(picture.alpha, [[65535, 65535, 0]])


def test_sixteen_bit_colour_with_a_transparent_value():
    values = np.array([[[256, 2, 3], [257, 2, 3]]], ">u2")  # equal in 8 bits
    data = png(2, 1, 16, 2, b"\0" + values.tobytes(), (b"tRNS", struct.pack(">HHH", 257, 2, 3)))
    np.testing.assert_array_equal(decode(data).alpha, [[65535, 0]])


@pytest.mark.parametrize(("channels", "colour_type"), [(3, 2), (4, 6)])
def test_sixteen_bit_colour(channels, colour_type):
    values = RNG.integers(0, 65536, (2, 3, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    picture = decode(png(3, 2, 16, colour_type, rows))
    np.testing.assert_array_equal(picture.rgb, values[..., :3])
    if channels == 3:
        assert picture.alpha is None
    else:
        np.testing.assert_array_equal(picture.alpha, values[..., 3])


def test_sixteen_bit_grey_with_alpha():
    values = RNG.integers(0, 65536, (2, 3, 2)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    picture = decode(png(3, 2, 16, 4, rows))
    assert picture.grey
    np.testing.assert_array_equal(picture.rgb[..., 1], values[..., 0])
    np.testing.assert_array_equal(picture.alpha, values[..., 1])


def heic(**options):
    pillow_heif = pytest.importorskip("pillow_heif", reason="nothing here writes HEIC")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(smooth())).save(buffer, quality=95, **options)
    return buffer.getvalue()


def test_heic_is_read():
    pytest.importorskip("pi_heif", reason="the extra heic is not installed")
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    picture = decode(heic(exif=exif.tobytes()))
    assert picture.format == "HEIF"
    assert np.abs(picture.rgb.astype(int) - smooth()).mean() < 4
    assert b"Maker" in picture.metadata.exif
    with pytest.raises(PictureError, match="limit of 100 pixels"):
        decode(heic(), max_pixels=100)
    with pytest.raises(PictureError, match=r"x\.heic: "):
        decode(heic()[:-300], name="x.heic")


def test_heic_without_the_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(PictureError, match=r"is a HEIC picture.*'toonbox\[heic\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1")


def test_values_without_a_known_white_are_refused():
    for image in (Image.new("I", (2, 2)), Image.new("F", (2, 2))):
        with pytest.raises(PictureError, match="32-bit"):
            read_image(image)


@pytest.mark.parametrize("size", [(1, 1), (3, 5000)])
def test_odd_sizes(size):
    picture = decode(file_of(Image.new("RGB", size, (1, 2, 3)), "JPEG"))
    assert picture.rgb.shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_orientation_is_applied_and_reset(orientation, upright, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    picture = decode(file_of(Image.fromarray(RGB), format, exif=exif))
    np.testing.assert_array_equal(picture.rgb, upright(RGB))
    written = Image.open(io.BytesIO(encode(picture, picture.rgb, format)))
    assert written.getexif().get(0x0112, 1) == 1
    assert written.getexif()[0x010F] == "Maker"
    np.testing.assert_array_equal(np.array(written), upright(RGB))


def test_first_frame_of_an_animation_with_a_note(caplog):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with caplog.at_level(logging.WARNING):
        picture = decode(data, name="wave.gif")
    assert picture.rgb[0, 0].tolist() == [255, 0, 0]
    assert "wave.gif: has more than one frame" in caplog.text


def test_a_phones_jpeg_with_a_preview_is_no_animation(caplog):
    photo, preview = Image.fromarray(smooth()), Image.new("RGB", (8, 6))
    data = file_of(photo, "MPO", save_all=True, append_images=[preview])
    picture = decode(data)
    assert picture.format == "JPEG"
    assert picture.rgb.shape == smooth().shape
    assert not caplog.text


def damaged(data, format):
    return decode(data, name=f"x.{format}")


def test_missing_folder_and_empty(tmp_path):
    with pytest.raises(PictureError, match=r"nowhere\.jpg: no such file"):
        decode(tmp_path / "nowhere.jpg")
    with pytest.raises(PictureError, match="is a folder, not a picture"):
        decode(tmp_path)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(PictureError, match=r"empty\.jpg: is empty"):
        decode(empty)


def test_unreadable_file_says_why(tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"x")
    with pytest.raises(PictureError, match=r"photo\.jpg/inside\.jpg: cannot be read: Not a dir"):
        decode(photo / "inside.jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_cut_off(format):
    data = file_of(Image.fromarray(RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)), format)
    with pytest.raises(PictureError, match="photo: ends before the picture is complete"):
        decode(data[: len(data) * 9 // 10], name="photo")


def test_cut_off_in_the_header():
    with pytest.raises(PictureError, match="its header is damaged or cut off"):
        decode(file_of(Image.fromarray(RGB), "GIF")[:20])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"Dear diary, today I saw a cat.", "is text, not a picture"),
        ("Grüße an alle: ".encode() * 1000, "is text, not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is text, not a picture"),
        (b"\x93\x8f\xff\xfe" * 40, "is not a picture"),
        (b"abc\0def", "is not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is a drawing"),
        (b"P6 3 3 255\n123", "ends before the picture is complete"),
        (b"P6 x y 255\n123", "is damaged"),
    ],
)
def test_no_picture(data, reason):
    with pytest.raises(PictureError, match=reason):
        decode(data)


@pytest.mark.parametrize("format", ["BLP", "ICNS", "ICO", "IPTC"])
def test_wrappers_are_refused_because_their_size_may_be_another(format):
    def field(record, number, data):
        return struct.pack(">3BH", 0x1C, record, number, len(data)) + data

    if format == "IPTC":  # which Pillow only reads
        head = ((60, b"\1\0"), (20, b"\0\2"), (30, b"\0\2"), (120, b"\0\1"))
        data = b"".join(field(3, *part) for part in head) + field(8, 10, b"1234")
    else:
        data = file_of(Image.new("P", (16, 16)), format)
    assert Image.open(io.BytesIO(data)).format == format
    with pytest.raises(PictureError, match=rf"x: is not supported: {format} wraps other files"):
        decode(data, name="x")


@pytest.mark.parametrize("before", [b"", b"\xff\xd0\0\xff\xff", b"\xff\xee\0\6late"])
def test_jpegs_of_very_many_exif_segments_are_refused(before):
    data = file_of(Image.fromarray(smooth()), "JPEG")
    segment = b"\xff\xe1\0\x08Exif\0\0"
    assert decode(data[:2] + before + 64 * segment + data[2:]).rgb.shape == smooth().shape
    with pytest.raises(PictureError, match=r"x\.jpg: is damaged: has more than 64 segments"):
        decode(data[:2] + before + 500_000 * segment + data[2:], name="x.jpg")


@pytest.mark.parametrize(
    ("kind", "start"), [(b"iCCP", b"p\0\0"), (b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0l\0t\0")]
)
@pytest.mark.parametrize("cut", [False, True])
def test_pngs_whose_metadata_inflate_without_end_are_refused(kind, start, cut):
    text = start + zlib.compress(bytes(1 << 24))[: -100 if cut else None] + b"\xff" * 50 * cut
    with pytest.raises(PictureError, match=r"x\.png: is damaged: has too many compressed texts"):
        decode(png(1, 1, 8, 0, b"\0\0", *[(kind, text)] * 1000), name="x.png")


def test_damaged_inside():
    data = bytearray(file_of(Image.fromarray(smooth()), "JPEG2000"))
    data[90:130] = bytes(40)
    with pytest.raises(PictureError, match="is damaged"):
        decode(bytes(data))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_is_always_a_picture_error():
    whole = [
        file_of(Image.fromarray(smooth(8, 9)), format)
        for format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM")
    ]
    refused = 0
    for data in whole:
        for _ in range(30):
            altered = bytearray(data)
            for place in RNG.integers(0, len(data), 4):
                altered[place] = RNG.integers(0, 256)
            try:
                decode(bytes(altered), max_pixels=100_000)
            except PictureError:
                refused += 1
    assert refused > 0


def test_bomb_is_refused_by_its_header():
    bomb = png(60_000, 60_000, 8, 2, b"")
    with pytest.raises(PictureError, match=r"bomb\.png: is larger than the limit of 200,000,000"):
        decode(bomb, name="bomb.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_limit_is_exact_and_pillows_stays_as_it_was(format, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = file_of(Image.fromarray(smooth(20, 30)), format)
    assert decode(data, max_pixels=600).rgb.shape == (20, 30, 3)
    for limit in (599, 200):
        with pytest.raises(PictureError, match=f"limit of {limit} pixels"):
            decode(data, max_pixels=limit)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("late", [False, True])
def test_long_texts_and_profiles_of_a_png_are_read_and_bombs_refused(late):
    def with_text(length):
        text = zlib.compress(bytes(length).replace(b"\0", b"a"))
        parts = [(b"iCCP", b"p\0\0" + zlib.compress(bytes(2**20 + 1)))]
        parts += [(b"IDAT", zlib.compress(b"\0\0"))] * late
        return png(1, 1, 8, 0, b"\0\0", *parts, (b"zTXt", b"Author\0\0" + text))

    picture = decode(with_text(2**20 + 1))
    assert picture.metadata.texts == (("Author", "a" * (2**20 + 1)),)
    with pytest.raises(PictureError, match="is damaged"):
        decode(with_text(2**26 + 1))
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20


def test_limits_of_threads_do_not_mix():
    data = file_of(Image.fromarray(smooth(20, 30)))
    outcomes = {100: set(), 600: set()}

    def work(limit):
        for _ in range(40):
            try:
                decode(data, max_pixels=limit)
                outcomes[limit].add("read")
            except PictureError:
                outcomes[limit].add("refused")

    threads = [threading.Thread(target=work, args=(limit,)) for limit in (100, 600) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {100: {"refused"}, 600: {"read"}}


def test_too_much_for_the_memory(monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(images, "read_colours", no_memory)
    with pytest.raises(PictureError, match="needs more memory than is available"):
        decode(file_of(Image.fromarray(RGB)))


def test_pillows_own_limit_while_it_decodes(monkeypatch):
    def refuse(*_):
        raise Image.DecompressionBombError("Image size (5) exceeds limit")

    monkeypatch.setattr(images, "read_colours", refuse)
    with pytest.raises(PictureError, match="is too large"):
        decode(file_of(Image.fromarray(RGB)))


def test_image_in_memory_is_read_the_same_way():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(file_of(Image.fromarray(RGB), exif=exif)))
    np.testing.assert_array_equal(read_image(image).rgb, np.rot90(RGB, -1))
    assert read_image(Image.fromarray(RGB)).format == ""


def test_broken_image_in_memory():
    data = file_of(Image.fromarray(smooth()), "JPEG")
    with pytest.raises(PictureError, match="<image>: ends before the picture is complete"):
        read_image(Image.open(io.BytesIO(data[:-200])))
