"""The entry to the course's runner: `python -m recsys_lib.course --help`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    sys.path.pop(0)  # the caller's folder: a random.py that lies there is not the one that we import

import signal

from recsys_lib.course import MEND

MISUSED, TERMINATED = 2, 143


def _terminate(number: int, frame: object) -> None:
    sys.exit(TERMINATED)  # an exception, unlike the default: temporary files and the kernel are cleaned up


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from recsys_lib.course.runner import main

        sys.exit(main())
    except ModuleNotFoundError as error:
        print(f"error: {error}. {MEND}", file=sys.stderr)
        sys.exit(MISUSED)
