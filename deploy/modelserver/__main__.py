"""`python -m deploy.modelserver FLAGS`."""

import os
import sys

from .flags import FlagError, parse_flags, usage


def main() -> int:
    """Start the server that the command line asks for."""
    try:
        flags = parse_flags(sys.argv[1:])
    except FlagError as error:
        print(f"Failed to start server. Error: {error}\n\n{usage()}", file=sys.stderr)
        return 255
    if flags.help:
        print(usage())
        return 0
    from .server import describe_versions, serve

    if flags.version:
        print(describe_versions())
        return 0
    return serve(flags)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread may still be inside TensorFlow; waiting for it could take as long as its run.
    os._exit(code)
