"""The page: a static site that draws in the browser, also served by `toonbox serve`."""

import base64
import hashlib
import io
import json
import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from toonbox.atomic import folder_beside, refuse_existing
from toonbox.engine.session import network_bytes
from toonbox.engine.style import MODEL, SHIPPED, Card, find_style, load_style, read_card
from toonbox.errors import MissingExtraError, OutputError, UsageError
from toonbox.options import DEFAULT_STYLE

FOLDER = Path(__file__).parent
SITE_SUFFIXES = (".html", ".css", ".js", ".mjs", ".json", ".wasm", ".txt", ".svg", ".png")
NOT_OF_THE_SITE = ("package.json", "package-lock.json", "vendor.js", "node_modules")
PREVIEW_PHOTO = "preview-photo.jpg"
RUNTIME = "vendor/pixels.wasm"  # the last file that vendor.js writes
NOTICES = "ThirdPartyNotices.txt"  # of ONNX Runtime; missing from its npm package
# Cached only when used: the runtime for GPUs is large.
ON_DEMAND = re.compile(rf"vendor/.*(jspi|{NOTICES}).*")
_FILES_GO_HERE = b"const FILES = {};"
_PREVIEW_QUALITY = 85

Files = dict[str, Path | bytes]


def site_files(styles: Sequence[str | Path] | None = None) -> Files:
    """Return the files of the site, as paths or contents, by URL relative to the page.

    Args:
        styles: names or folders of styles; None for the shipped ones.
    Raises:
        MissingExtraError: the page or its dependencies are not installed.
        StyleError: a style is missing or damaged.
        UsageError: two styles have the same name, or a name cannot be part of a URL.
    """
    if not (FOLDER / RUNTIME).is_file():
        raise MissingExtraError(
            "the page is not installed: pip install 'toonbox[serve]', "
            f"or in a clone: npm ci --prefix {FOLDER}"
        )
    files: Files = {
        file.relative_to(FOLDER).as_posix(): file
        for file in sorted(FOLDER.rglob("*"))
        if file.suffix in SITE_SUFFIXES
        and file.relative_to(FOLDER).parts[0] not in NOT_OF_THE_SITE
        and file.is_file()
    }
    if (engine := find_spec("onnxruntime")) and engine.origin:
        notices = Path(engine.origin).with_name(NOTICES)
        if notices.is_file():
            files[f"vendor/onnxruntime.{NOTICES}"] = notices
    files |= _models(shipped_styles() if styles is None else styles)
    worker = FOLDER / "sw.js"
    files[worker.name] = _with_hashes(worker.read_bytes(), files)
    return files


def write_site(
    folder: Path, styles: Sequence[str | Path] | None = None, *, force: bool = False
) -> None:
    """Write the site to a folder, atomically.

    Args:
        folder: folder to create, with missing parents.
        styles: as in `site_files`.
        force: replace an existing folder that is empty or has a page, with everything in it.
    Raises:
        MissingExtraError, StyleError, UsageError: as in `site_files`.
        OutputError: the folder exists, has something else, or cannot be written.
    """
    folder = folder.absolute()
    if not force:
        refuse_existing(folder)
    if folder.exists() and not _may_be_replaced(folder):
        raise OutputError(f"{folder} exists and is not a toonbox page, so it is not replaced")
    files = site_files(styles)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder_beside(folder) as temporary:
            site = temporary / "site"
            for name, content in files.items():
                target = site / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, bytes):
                    target.write_bytes(content)
                else:
                    shutil.copyfile(content, target)
            old = folder.rename(temporary / "old") if folder.exists() else None
            try:
                site.rename(folder)
            except OSError:
                if old:
                    old.rename(folder)
                raise
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error


def _may_be_replaced(folder: Path) -> bool:
    """Return whether a folder is empty or has a page."""
    if (folder / "models" / "styles.json").is_file():
        return True
    return folder.is_dir() and not any(folder.iterdir())


def shipped_styles() -> list[Path]:
    """Return the folders of the shipped styles, the default first."""
    folders = sorted(card.parent for card in SHIPPED.glob("*/card.toml"))
    return sorted(folders, key=lambda folder: folder.name != DEFAULT_STYLE)


def _models(styles: Sequence[str | Path]) -> Files:
    """Return the networks, their previews, and `models/styles.json`, which lists both."""
    files: Files = {"example.jpg": SHIPPED / PREVIEW_PHOTO}
    entries: list[dict[str, Any]] = []
    for folder in map(find_style, styles):
        card = read_card(folder)
        if not re.fullmatch(r"[\w-][\w.-]*", card.name, re.ASCII):
            raise UsageError(f"a style on the page cannot be called {card.name!r}")
        model, preview = f"models/{card.name}.onnx", f"models/{card.name}.jpg"
        if model in files:
            raise UsageError(f"two styles are called {card.name}")
        files[model] = folder / MODEL
        files[preview] = _preview(folder)
        entries.append(_entry(card, folder) | {"model": model, "preview": preview})
    files["models/styles.json"] = json.dumps(entries, ensure_ascii=False, indent=1).encode()
    return files


def _entry(card: Card, folder: Path) -> dict[str, Any]:
    network = network_bytes(folder / MODEL, card.onnx_sha256)
    return {
        "name": card.name,
        "description": card.description,
        "knobs": list(card.knobs),
        "resolution": card.working_resolution,
        "detail": card.detail_resolution,
        "multiple": card.size_multiple,
        "reach": card.reach,
        "beyond": card.beyond,
        "bytes": len(network),
        "sha256": card.onnx_sha256,
    }


def _preview(folder: Path) -> bytes:
    """Return the cartoon of the preview photo at its size, as JPEG."""
    with Image.open(SHIPPED / PREVIEW_PHOTO) as photo:
        width, height = photo.size
        if (file := folder / "preview.png").is_file() and _size_of(file) == (width, 2 * height):
            with Image.open(file) as both:  # the photo above, the cartoon below
                cartoon = both.convert("RGB").crop((0, height, width, 2 * height))
        else:
            cartoon = load_style(folder)(photo)
    written = io.BytesIO()
    cartoon.save(written, "JPEG", quality=_PREVIEW_QUALITY)
    return written.getvalue()


def _size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as opened:
        return opened.size


def _with_hashes(worker: bytes, files: Files) -> bytes:
    """Insert the hash of each file into the service worker, and which are cached on demand."""
    if _FILES_GO_HERE not in worker:
        raise ValueError("sw.js has no place for the hashes")
    versions = {}
    for name, content in sorted(files.items()):
        if name != "sw.js":
            data = content if isinstance(content, bytes) else content.read_bytes()
            sha256 = base64.b64encode(hashlib.sha256(data).digest()).decode()
            versions[name] = {"sha256": sha256, "later": bool(ON_DEMAND.fullmatch(name))}
    return worker.replace(_FILES_GO_HERE, f"const FILES = {json.dumps(versions)};".encode())
