"""What a film tells of itself: which of it goes into its cartoon."""

# They speak of the old file, or of its pictures before they were encoded anew.
_OF_THE_FILE = (
    *("major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id"),
    *("handler_name", "duration", "bps", "number_of_frames", "number_of_bytes", "rotate"),
)
_PLACES = ("location", "gps", "xyz")


def kept_metadata(metadata: dict[str, str], keep: str) -> dict[str, str]:
    """Choose what is kept.

    Args:
        metadata: of a file, a stream or a chapter.
        keep: "keep", "strip" for all but languages and titles of chapters and streams, "no-gps"
            for all but places.
    """
    kept = {}
    for key, value in metadata.items():
        name = key.lower()
        ours = name.split("-")[0] in _OF_THE_FILE or name.startswith("_statistics")
        place = keep == "no-gps" and any(word in name for word in _PLACES)
        stripped = keep == "strip" and name not in ("language", "filename", "mimetype")
        if not (ours or place or stripped):
            kept[key] = value
    return kept
