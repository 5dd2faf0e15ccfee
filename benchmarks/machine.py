"""What a benchmark runs on, to be kept beside its figures; the memory of processes."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

ABILITIES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")


def resident_mib(process: int | str = "self") -> float:
    """Return the MiB that a process has in memory, by its id. Linux only."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def machine() -> dict[str, str]:
    """Describe what this runs on."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:  # only Linux has it
        flags = []
    return {
        "processor": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
        "abilities": " ".join(ability for ability in ABILITIES if ability in flags),
        "python": platform.python_version(),
        **{name: version(name) for name in ("toonbox", "onnxruntime", "numpy", "av")},
    }
