"""How the frames of a video are turned: its display matrix."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from toonbox.pixels import PhotoArray


@dataclass(frozen=True)
class Orientation:
    """Rows and columns exchanged, then mirrored: one of eight ways."""

    transposed: bool = False
    from_below: bool = False
    from_right: bool = False

    def upright(self, photo: PhotoArray) -> PhotoArray:
        """Turn a stored frame, (H, W, 3), as it should be shown."""
        turned = photo.transpose(1, 0, 2) if self.transposed else photo
        turned = turned[::-1] if self.from_below else turned
        return np.ascontiguousarray(turned[:, ::-1] if self.from_right else turned)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read a frame's display matrix: (x, y) is shown at (a x + c y, b x + d y).

    Angles that are no multiples of 90 degrees are left as they are stored.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is not None:
        a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
        if a == d == 0 and b and c:
            return Orientation(True, from_below=b < 0, from_right=c < 0)
        if b == c == 0 and a and d:
            return Orientation(False, from_below=d < 0, from_right=a < 0)
    return Orientation()
