"""`make demo`: run the story, end everything. With --keep: leave it running until Ctrl-C."""

import argparse
import signal
import sys
import time

from demo.story import Story
from testkit.rig import Rig


def main() -> int:
    """Tell the story; exit 0 when each sentence of it happened."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true", help="leave it running (make demo KEEP=1)")
    keep = parser.parse_args().keep
    for end in (signal.SIGTERM, signal.SIGINT):  # who starts it in the background ignores SIGINT
        signal.signal(end, signal.default_int_handler)  # end what was started, too

    begun = time.monotonic()
    try:
        with Rig() as rig:
            story = Story(rig)
            story.tell()
            print(f"\nAll of it happened, in {time.monotonic() - begun:.0f} seconds.", flush=True)
            if keep:
                story.put_back()
                print(story.commands(), flush=True)
                while True:
                    time.sleep(1)  # not pause(): a signal just before it would be waited for again
    except AssertionError as failed:
        print(f"\nThis did not happen:\n{failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nEverything that the demo started has ended.")
    return 0


sys.exit(main())
