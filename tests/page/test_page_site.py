"""The site as files: what is in it, how it is written, and how heavy it is."""

import base64
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import toonbox.page
from toonbox.cli.main import main
from toonbox.engine.style import SHIPPED
from toonbox.errors import OutputError, StyleError, UsageError
from toonbox.options import DEFAULT_STYLE
from toonbox.page import site_files, write_site


def content_of(content):
    return content if isinstance(content, bytes) else content.read_bytes()


@pytest.fixture
def small_page(tmp_path, monkeypatch):
    """Put a page of a few bytes, with another's stylesheet, in the place of ours."""
    folder = tmp_path / "page"
    for name in ("index.html", "vendor/pixels.wasm", "vendor/ort.jspi.min.mjs",
                 "i18n/en.json", "package.json", "vendor.js", "node_modules/left/index.js",
                 "pixels.ts", "__init__.py"):  # fmt: skip
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    shutil.copy(toonbox.page.FOLDER / "sw.js", folder)
    monkeypatch.setattr(toonbox.page, "FOLDER", folder)
    return folder


def test_the_page_weighs_less_than_300_kb_before_models_and_runtime(built_site):
    own = [name for name in built_site if not name.startswith(("models/", "vendor/"))]
    assert {"engine.js", "worker.js", "sw.js", "picture.js"} <= set(own)
    assert sum(len(content_of(built_site[name])) for name in own) < 300_000


def test_licences_of_what_others_made_are_on_the_site(built_site):
    assert b"MIT License" in content_of(built_site["licences/onnxruntime-web.txt"])
    assert b"Eigen" in content_of(built_site["vendor/onnxruntime.ThirdPartyNotices.txt"])
    licence = content_of(built_site["licences/mediabunny.txt"])
    assert b"Mozilla Public License" in licence
    assert b"https://github.com/Vanilagy/mediabunny" in licence  # where its source is
    versions = json.loads((toonbox.page.FOLDER / "package.json").read_text())["dependencies"]
    for name, version in versions.items():
        licence = content_of(built_site[f"licences/{name}.txt"]).decode().lower()
        assert licence.split(":")[0].split(",")[0].endswith(version)


def test_what_is_on_the_site(small_page):
    files = site_files()
    assert {name for name in files if not name.startswith("models/")} == {
        "example.jpg", "index.html", "sw.js", "vendor/pixels.wasm", "vendor/ort.jspi.min.mjs",
        "i18n/en.json", "vendor/onnxruntime.ThirdPartyNotices.txt",
    }  # fmt: skip
    styles = json.loads(content_of(files["models/styles.json"]))
    names = [style["name"] for style in styles]
    assert names[0] == DEFAULT_STYLE
    assert sorted(names) == sorted(folder.parent.name for folder in SHIPPED.glob("*/card.toml"))
    for style in styles:
        model = content_of(files[style["model"]])
        assert len(model) == style["bytes"]
        assert hashlib.sha256(model).hexdigest() == style["sha256"]
        with Image.open(io.BytesIO(content_of(files[style["preview"]]))) as preview:
            assert preview.format == "JPEG"
            assert preview.size == (720, 330)
    assert styles[0] | {"bytes": 0, "sha256": "", "description": ""} == {
        "name": "comic", "description": "", "knobs": ["surface", "structure", "texture"],
        "resolution": 512, "detail": 768, "multiple": 8, "reach": 108, "beyond": 4,
        "bytes": 0, "sha256": "",
        "model": "models/comic.onnx", "preview": "models/comic.jpg",
    }  # fmt: skip


def test_the_service_worker_knows_the_hash_of_every_file(small_page):
    files = site_files(["comic"])
    known = re.search(rb"^const FILES = (.*);$", content_of(files["sw.js"]), re.M)
    versions = json.loads(known[1])
    assert set(versions) == set(files) - {"sw.js"}
    for name, version in versions.items():
        sha256 = hashlib.sha256(content_of(files[name])).digest()
        assert base64.b64decode(version["sha256"]) == sha256
        assert version["later"] == ("jspi" in name or "Notices" in name)
    (small_page / "i18n" / "en.json").write_text("{}")
    assert content_of(site_files(["comic"])["sw.js"]) != content_of(files["sw.js"])


def test_own_styles_come_in_the_order_given_with_a_preview_of_theirs(small_page, tiny_style):
    mine = tiny_style("mine", working_resolution=48, knobs=("texture",), beyond=0)
    files = site_files([mine, "ink"])
    first, second = json.loads(content_of(files["models/styles.json"]))
    assert (first["name"], second["name"]) == ("mine", "ink")
    assert (first["resolution"], first["knobs"], first["beyond"]) == (48, ["texture"], 0)
    with Image.open(io.BytesIO(content_of(files["models/mine.jpg"]))) as preview:
        assert preview.size == (720, 330)
        assert len(preview.convert("RGB").getcolors(1 << 20)) > 1000


def test_styles_that_cannot_be_on_the_page(small_page, tiny_style, tmp_path):
    with pytest.raises(StyleError, match="no style 'none'"):
        site_files(["none"])
    with pytest.raises(UsageError, match="two styles are called ink"):
        site_files(["ink", "ink"])
    odd = tiny_style("odd")
    card = odd / "card.toml"
    card.write_text(card.read_text().replace('"odd"', '"../odd"'))
    with pytest.raises(UsageError, match="cannot be called"):
        site_files([odd])
    damaged = tiny_style("damaged")
    with (damaged / "style.onnx").open("ab") as opened:
        opened.write(b"x")
    with pytest.raises(StyleError, match="damaged, its sha256"):
        site_files([damaged])


def test_a_site_is_written_whole_and_replaced_only_if_told(small_page, tmp_path):
    site = tmp_path / "new" / "site"
    write_site(site, ["comic"])
    written = {file.relative_to(site).as_posix() for file in site.rglob("*") if file.is_file()}
    assert written == set(site_files(["comic"]))
    assert (site / "index.html").read_text() == "index.html"
    with pytest.raises(OutputError, match="--force"):
        write_site(site, ["ink"])
    assert (site / "models" / "comic.onnx").is_file()
    write_site(site, ["ink"], force=True)
    assert not (site / "models" / "comic.onnx").exists()
    assert (site / "models" / "ink.onnx").is_file()
    assert [file.name for file in site.parent.iterdir()] == ["site"]  # nothing is left beside it


def test_a_site_in_the_current_folder(small_page, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path / "site")
    write_site(Path(), ["comic"], force=True)
    assert (tmp_path / "site" / "index.html").read_text() == "index.html"


def test_a_folder_of_something_else_is_not_replaced(small_page, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a photo")
    with pytest.raises(OutputError, match="not replaced"):
        write_site(tmp_path / "photos", ["comic"], force=True)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "empty").mkdir()
    write_site(tmp_path / "empty", ["comic"], force=True)
    for force in (False, True):
        with pytest.raises(OutputError):
            write_site(tmp_path / "file", ["comic"], force=force)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"a photo"
    assert (tmp_path / "file").read_text() == "a file"
    with pytest.raises(OutputError, match="cannot be written"):
        write_site(tmp_path / "file" / "site", ["comic"])


def test_an_old_site_stays_if_the_new_one_cannot_be_written(small_page, tmp_path, monkeypatch):
    site = tmp_path / "site"
    write_site(site, ["comic"])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        write_site(site, ["comic"], force=True)
    assert (site / "index.html").read_text() == "index.html"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["page", "site"]


def test_the_old_site_comes_back_if_the_new_one_cannot_take_its_place(
    small_page, tmp_path, monkeypatch
):
    site = tmp_path / "site"
    write_site(site, ["comic"])
    rename = Path.rename

    def refused(path, target):
        if path.name == "site" and target == site and path.parent != tmp_path:
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OutputError, match="Permission denied"):
        write_site(site, ["ink"], force=True)
    assert (site / "models" / "comic.onnx").is_file()


def exit_of(*arguments):
    with pytest.raises(SystemExit) as exit:
        main(list(map(str, arguments)))
    return exit.value.code or 0


def test_the_command(small_page, tmp_path, tiny_style, capsys):
    site = tmp_path / "site"
    assert exit_of("page", "-o", site, "--style", "ink", "--style", tiny_style("mine")) == 0
    assert capsys.readouterr().out == f"{site / 'index.html'}\n"
    names = [style["name"] for style in json.loads((site / "models/styles.json").read_text())]
    assert names == ["ink", "mine"]
    assert exit_of("page", "-o", site) == 1
    assert "--force" in capsys.readouterr().err
    assert exit_of("page", "-o", site, "--force", "--style", "comic") == 0
    assert exit_of("page") == 2
