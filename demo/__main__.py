"""`make demo`: run all steps, and end all programs. With --keep they run until Ctrl-C."""

import argparse
import signal
import sys
import time

from demo.steps import Demo
from testkit.rig import Rig


def main() -> int:
    """Run the demo; return 0 if each step succeeded."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true", help="leave it running (make demo KEEP=1)")
    keep = parser.parse_args().keep
    for end in (signal.SIGTERM, signal.SIGINT):  # in the background a shell ignores SIGINT
        signal.signal(end, signal.default_int_handler)  # it ends the started programs too

    begun = time.monotonic()
    try:
        with Rig() as rig:
            demo = Demo(rig)
            demo.run()
            print(f"\nAll steps succeeded, in {time.monotonic() - begun:.0f} seconds.", flush=True)
            if keep:
                demo.restore_trunks()
                print(demo.commands(), flush=True)
                while True:
                    time.sleep(1)  # not pause(): it would miss a signal just before it
    except AssertionError as failed:
        print(f"\nThis step failed:\n{failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nAll programs of the demo have ended.")
    return 0


sys.exit(main())
