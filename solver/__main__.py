"""``python -m solver``."""

import os
import sys

from cli import NOTHING_FOUND, main

if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        # CPython kills itself by SIGINT at its end if a Ctrl-C came while an extension was being loaded, although that
        # was caught and told. So a command that found nothing ends here, where nothing is left to write.
        if end.code == NOTHING_FOUND:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(NOTHING_FOUND)
        raise
