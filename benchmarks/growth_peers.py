"""What growth.py runs in processes of their own: `python growth_peers.py NAME ARGUMENTS`.

Their whole memory is measured: so torch and Ray are imported only where they are used.
"""

import io
import json
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from toonbox.convert.job import Converter, Job, Outcome, convert_all
from toonbox.engine.style import load_style
from toonbox.images.encode import QUALITY
from toonbox.parallel import available_processors
from toonbox.video.read import read_frames, read_video
from toonbox.video.write import Encoding, Track, writing_segment


def codec(photos: Path) -> None:
    """Decode and encode each file of a folder, with the options that toonbox writes with."""
    Image.MAX_IMAGE_PIXELS = None
    for file in sorted(photos.iterdir()):
        with Image.open(file) as opened:
            opened.save(io.BytesIO(), "JPEG", quality=QUALITY, subsampling="4:4:4")


def codec_of_video(video: Path) -> None:
    """Decode a video's pictures, and encode them again."""
    source = read_video(video)
    track = Track(source.size, source.time_base, source.rate, source.aspect, source.colours)
    with writing_segment(video.with_name("copy.mp4"), track, Encoding("h264")) as writer:
        for frame in read_frames(source):
            writer.write(frame.photo, frame.pts, frame.duration)


def authors(photo: Path, memory: int) -> None:
    """Run the authors' network in torch eager on a whole photo; fail beyond so many bytes."""
    import torch

    from toonbox.learn.import_tfjs import AuthorsGenerator
    from toonbox.pixels import from_signed, to_signed

    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    torch.set_num_threads(1)
    Image.MAX_IMAGE_PIXELS = None
    network = AuthorsGenerator().eval()
    try:
        with Image.open(photo) as opened, torch.inference_mode():
            batch = torch.from_numpy(to_signed(np.asarray(opened)).transpose(2, 0, 1)[None].copy())
            cartoon = from_signed(network(batch)[0].numpy().transpose(1, 2, 0))
    except (MemoryError, RuntimeError) as error:
        sys.exit(str(error))
    Image.fromarray(cartoon).save(io.BytesIO(), "JPEG", quality=QUALITY)


def pictures_a_second(outcomes: Iterable[Outcome], workers: int) -> float:
    """Give the rate by the clock from the first picture of the last worker to the last picture."""
    times = []
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
        times.append(time.perf_counter())
    return (len(times) - workers) / (times[-1] - times[workers - 1])


def workers(photos: Path, style: str, counts: list[int]) -> list[tuple[float, float]]:
    """Compare Ray workers of one thread with one process, by turns; give pictures a second."""
    from toonbox.convert import ray

    out = photos.with_name("drawn")
    jobs = [Job(file, out / file.name, "overwrite") for file in sorted(photos.iterdir())]
    one, cores = Converter(load_style(style, threads=1)), available_processors()
    rates = []
    # As many processors as workers, however many this machine has.
    with patch.object(ray, "available_processors", lambda: max(counts)), ray.running():
        for count in counts:
            alone = pictures_a_second(convert_all(jobs, one, parallel=cores), cores)
            shared = ray.convert_on_ray(jobs, style, workers=count)
            rates.append((alone, pictures_a_second(shared, count)))
    return rates


def main(name: str, first: str, *rest: str) -> None:
    """Run what is named."""
    if name == "workers":
        style, *counts = rest
        print(json.dumps(workers(Path(first), style, [int(count) for count in counts])))
    elif name == "authors":
        authors(Path(first), int(rest[0]))
    else:
        {"codec": codec, "codec_of_video": codec_of_video}[name](Path(first))


if __name__ == "__main__":
    main(*sys.argv[1:])
