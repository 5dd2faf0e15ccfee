"""Tell hatch which files of the page go into its wheel: those of the site, without the code."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "src" / "toonbox" / "page"
NOT_OF_THE_SITE = (
    "node_modules", "__pycache__", "package.json", "package-lock.json", "pixels.ts", "vendor.js",
)  # fmt: skip


class PageFiles(BuildHookInterface):
    """Adds the files; toonbox/page/__init__.py finds them by the same rule."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add every file; `version` is the kind of build."""
        if not (PAGE / "vendor").is_dir():
            raise SystemExit(f"what the page loads is missing: npm ci --prefix {PAGE}")
        files: dict[str, str] = build_data["force_include"]
        information = f"toonbox_page-{self.metadata.version}.dist-info"
        files[str(ROOT / "LICENSE")] = f"{information}/licenses/LICENSE"
        for file in PAGE.rglob("*"):
            below = file.relative_to(PAGE)
            if file.is_file() and file.suffix != ".py" and below.parts[0] not in NOT_OF_THE_SITE:
                files[str(file)] = f"toonbox/page/{below.as_posix()}"
