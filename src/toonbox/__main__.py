"""The process `toonbox`, which is also `python -m toonbox`."""

import atexit
import gc
import signal
import sys
from typing import NoReturn

# The command does without OpenVINO's converter of other formats: importing that takes longer than
# importing all the rest of OpenVINO.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]


def main() -> NoReturn:
    """Run the command line and exit."""
    # At the end all memory goes back at once; nothing need be looked for in it.
    atexit.register(gc.freeze)
    # Ctrl-C ends the process at once, but where a command wants to finish something. Python's own
    # way raises an exception anywhere: inside an import it can be lost, and its lock stay behind,
    # for which all other threads then wait forever.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from toonbox.parallel import end_at_once_from_now

    end_at_once_from_now()
    from toonbox.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
