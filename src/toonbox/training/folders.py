"""The pictures of a run: what the folders hold, what of it is used, what is kept for validation."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from toonbox.data.crops import Domain
from toonbox.data.inspect import FolderReport, inspect_folder
from toonbox.errors import DataError
from toonbox.files import replacing

VALIDATION_PHOTOS = 8


@dataclass(frozen=True)
class TrainingData:
    """Files of both domains, and the photos that no step sees."""

    photos: Domain
    cartoons: Domain
    validation: list[Path]

    def save(self, file: Path) -> None:
        """Write the lists as JSON."""
        lists = {
            "photos": self.photos.files,
            "cartoons": self.cartoons.files,
            "face_photos": self.photos.faces,
            "face_cartoons": self.cartoons.faces,
            "validation": self.validation,
        }
        names = {name: [str(f) for f in files] for name, files in lists.items()}
        text = json.dumps(names, indent=1)
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "TrainingData":
        """Read the lists of a run that goes on, so that it sees the same pictures in one order.

        Raises:
            DataError: a file of the lists is gone.
        """
        lists = {
            name: [Path(f) for f in files]
            for name, files in json.loads(file.read_text(encoding="utf-8")).items()
        }
        gone = [path for files in lists.values() for path in files if not path.exists()]
        if gone:
            raise DataError(f"{gone[0]}: gone since the run began, with {len(gone) - 1} others")
        return cls(
            Domain(lists["photos"], lists["face_photos"]),
            Domain(lists["cartoons"], lists["face_cartoons"]),
            lists["validation"],
        )


def inspect_training_data(
    photos: Path, cartoons: list[Path], faces: tuple[Path, Path] | None, minimum_side: int
) -> tuple[TrainingData, list[FolderReport]]:
    """Look at every picture and choose.

    Args:
        photos: folder of photos; those in black and white are left out.
        cartoons: folders of cartoons.
        faces: folders of face photos and face cartoons, or None.
        minimum_side: pixels; smaller pictures are left out.
    Returns:
        The pictures to use, and a report for each folder.
    Raises:
        DataError: a folder is missing or holds too little.
    """
    reports = [
        inspect_folder(folder, minimum_side=minimum_side)
        for folder in (photos, *cartoons, *(faces or ()))
    ]
    coloured = [f for f in reports[0].usable if f not in set(reports[0].black_and_white)]
    if len(coloured) < 2:
        raise DataError(f"{photos}: training needs at least two usable colour photos")
    # A fixed share by name: adding pictures later does not shuffle the split.
    ordered = sorted(coloured, key=lambda f: hashlib.sha256(f.name.encode()).hexdigest())
    held_out = min(VALIDATION_PHOTOS, len(coloured) // 2)
    validation = ordered[:held_out]
    drawn = [file for report in reports[1 : 1 + len(cartoons)] for file in report.usable]
    face_lists = [report.usable for report in reports[1 + len(cartoons) :]] or [[], []]
    data = TrainingData(
        Domain(sorted(ordered[held_out:]), face_lists[0]),
        Domain(drawn, face_lists[1]),
        validation,
    )
    return data, reports
