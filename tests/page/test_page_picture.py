"""Picture files in the browser: upright, with their EXIF data, under the command line's names."""

import base64
import io

import pytest
from PIL import ExifTags, Image, ImageOps

from page_server import visit
from toonbox.images.formats import cartoon_name

HARNESS = b"""<!doctype html><meta charset="utf-8"><title>test</title><script type="module">
import { cartoonName, readPicture, writePicture } from "./picture.js";
const base64 = (blob) => new Promise((resolve) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.split(",")[1]);
  reader.readAsDataURL(blob);
});
const read = async (name, type) => {
  const data = await (await fetch(name)).arrayBuffer();
  return readPicture(new File([data], name, { type }));
};
Object.assign(window, {
  cartoonName,
  async copy(name, type, how) {
    const { bitmap, width, height, exif } = await read(name, type);
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    return base64(await writePicture(context.getImageData(0, 0, width, height), { exif, ...how }));
  },
  async failure(name, type) {
    try {
      await read(name, type);
      return null;
    } catch (error) {
      return [error.code, error.message];
    }
  },
});
document.title = "ready";
</script>"""
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}


@pytest.fixture(scope="module")
def site(serve, built_site):
    return serve(built_site | {"test.html": HARNESS})


@pytest.fixture(scope="module")
def page(chromium, site):
    page = chromium.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    visit(page, f"{site.url}test.html")
    yield page
    page.close()
    assert errors == []


def photo_of(format, thumbnail=True, order="<"):
    """Write a picture, red above blue as it lies, that is to be turned, with EXIF data."""
    image = Image.new("RGB", (64, 48), "red")
    image.paste("blue", (0, 24, 64, 48))
    exif = Image.Exif()
    exif.endian = order
    exif[ExifTags.Base.Orientation] = 6  # turn it right
    exif[ExifTags.Base.Make] = "A camera"
    folder = exif.get_ifd(ExifTags.IFD.Exif)
    folder[ExifTags.Base.ExifImageWidth], folder[ExifTags.Base.ExifImageHeight] = 64, 48
    folder[ExifTags.Base.MakerNote] = b"\x00\x01note"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    data = exif.tobytes()
    if thumbnail:
        data = with_thumbnail(data)
    written = io.BytesIO()
    image.save(written, format, exif=data, quality=95)
    return written.getvalue()


THUMBNAIL = b"\xff\xd8 a small picture of the photo \xff\xd9"


def with_thumbnail(data):
    """Append a second folder, and what it says is a JPEG, as cameras do."""
    tiff = bytearray(data.removeprefix(b"Exif\0\0"))
    order = "little" if tiff[:2] == b"II" else "big"
    first = int.from_bytes(tiff[4:8], order)
    link = first + 2 + 12 * int.from_bytes(tiff[first : first + 2], order)
    second = len(tiff)
    tiff[link : link + 4] = second.to_bytes(4, order)
    tiff += (2).to_bytes(2, order)
    for tag, value in ((0x201, second + 30), (0x202, len(THUMBNAIL))):
        tiff += tag.to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order)
        tiff += value.to_bytes(4, order)
    return b"Exif\0\0" + bytes(tiff) + bytes(4) + THUMBNAIL


def test_what_is_transparent_is_white_in_jpeg(page, site):
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    clear.paste((200, 30, 30, 255), (0, 0, 8, 16))
    written = io.BytesIO()
    clear.save(written, "PNG")
    site.files["clear.png"] = written.getvalue()
    copy = page.evaluate("copy('clear.png', 'image/png', { type: 'image/jpeg', quality: 1 })")
    image = Image.open(io.BytesIO(base64.b64decode(copy))).convert("RGB")
    assert min(image.getpixel((14, 8))) > 250
    assert image.getpixel((2, 8))[1] < 60


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize("given", FORMATS)
def test_exif_is_kept_and_made_true(page, site, given, written, order):
    site.files["photo"] = photo_of(FORMATS[given], order=order)
    assert THUMBNAIL in site.files["photo"]
    copy = base64.b64decode(
        page.evaluate("([type, how]) => copy('photo', type, how)", [given, {"type": written}])
    )
    assert THUMBNAIL not in copy
    with Image.open(io.BytesIO(copy)) as image:
        image.load()
        exif = image.getexif()
        assert image.format == FORMATS[written]
        assert image.size == (48, 64)
        red, blue = image.convert("RGB").getpixel((40, 32)), image.convert("RGB").getpixel((8, 32))
    assert red[0] > 200 > 60 > red[2]
    assert blue[2] > 200 > 60 > blue[0]
    assert exif[ExifTags.Base.Orientation] == 1
    assert exif[ExifTags.Base.Make] == "A camera"
    folder = exif.get_ifd(ExifTags.IFD.Exif)
    assert folder[ExifTags.Base.ExifImageWidth] == 48
    assert folder[ExifTags.Base.ExifImageHeight] == 64
    assert folder[ExifTags.Base.MakerNote] == b"\x00\x01note"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert exif.get_ifd(ExifTags.IFD.IFD1) == {}


@pytest.mark.parametrize("quality", [0.8, 1])  # 1 writes lossless WebP, in the other simple format
def test_webp_with_exif_is_a_picture_with_transparency(page, site, quality):
    image = Image.new("RGBA", (33, 21), "teal")
    image.putpixel((3, 4), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    written = io.BytesIO()
    image.save(written, "PNG", exif=exif)
    site.files["photo"] = written.getvalue()
    how = {"type": "image/webp", "quality": quality}
    copy = base64.b64decode(page.evaluate("how => copy('photo', 'image/png', how)", how))
    with Image.open(io.BytesIO(copy)) as again:
        assert again.size == (33, 21)
        assert again.getexif()[ExifTags.Base.Artist] == "somebody"
        assert again.convert("RGBA").getpixel((3, 4))[3] == 0


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 20, 30, 60, 90])
def test_damaged_exif_is_left_out_and_the_picture_read(page, site, length):
    whole = Image.Exif()
    whole[ExifTags.Base.Make] = "A camera"
    whole.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = bytes(20)
    data = with_thumbnail(whole.tobytes())[: 6 + length]
    written = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(written, "JPEG", exif=data)
    site.files["photo"] = written.getvalue()
    copy = base64.b64decode(page.evaluate("() => copy('photo', 'image/jpeg', {})"))
    with Image.open(io.BytesIO(copy)) as image:
        assert image.size == (16, 8)


def test_exif_at_the_end_of_a_large_png_is_found(page, site):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    written = io.BytesIO()
    Image.effect_noise((1500, 1000), 100).save(written, "PNG", compress_level=0, exif=exif)
    png = written.getvalue()
    start = png.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4])
    site.files["photo"] = png[:start] + png[end:-12] + png[start:end] + png[-12:]
    assert len(png) > 1 << 20
    copy = base64.b64decode(page.evaluate("() => copy('photo', 'image/png', {})"))
    with Image.open(io.BytesIO(copy)) as image:
        assert image.getexif()[ExifTags.Base.Artist] == "somebody"


def test_what_is_no_picture_is_said(page, site):
    site.files["notes.jpg"] = b"these are notes"
    assert page.evaluate("() => failure('notes.jpg', 'image/jpeg')") == [
        "not-a-picture",
        "notes.jpg is not a picture that this browser can read",
    ]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_what_is_too_large_is_said_before_it_takes_memory(page, site, format):
    written = io.BytesIO()
    Image.new("RGB", (4, 4)).save(written, format, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    data = bytearray(written.getvalue())
    if format == "PNG":
        data[16:24] = (60_000).to_bytes(4) * 2
    elif format == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = (60_000).to_bytes(2) * 2
    else:
        data[24:30] = (59_999).to_bytes(3, "little") * 2
    site.files["bomb"] = bytes(data)
    code, message = page.evaluate("type => failure('bomb', type)", f"image/{format.lower()}")
    assert code == "too-large"
    assert message == ("bomb is too large for this browser: 60000 x 60000 = 3600 megapixels")


@pytest.mark.parametrize("name", ["photo.jpg", "a.b.JPEG", "scan", ".hidden", "x.png", "y.webp",
                                  "phone.heic", "page.tif"])  # fmt: skip
@pytest.mark.parametrize("type", FORMATS)
def test_names_are_those_of_the_command_line(page, tmp_path, name, type):
    format = type.removeprefix("image/")
    assert page.evaluate("([name, type]) => cartoonName(name, type)", [name, type]) == cartoon_name(
        tmp_path / name, format
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_upright(page, site, format, orientation):
    image = Image.new("RGB", (64, 32), "white")
    image.paste("red", (0, 0, 32, 16))
    image.paste("blue", (32, 16, 64, 32))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    written = io.BytesIO()
    image.save(written, format, exif=exif, quality=95)
    site.files["photo"] = written.getvalue()
    copy = page.evaluate(
        "type => copy('photo', type, { type: 'image/png' })", f"image/{format.lower()}"
    )
    with Image.open(io.BytesIO(base64.b64decode(copy))) as there:
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(written.getvalue())))
        assert there.size == upright.size
        for x, y in ((8, 8), (there.width - 8, 8), (8, there.height - 8)):
            seen, wanted = there.convert("RGB").getpixel((x, y)), upright.getpixel((x, y))
            assert max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) < 40
