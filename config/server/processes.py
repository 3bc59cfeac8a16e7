"""How a part becomes a process of its own: a fork of the launcher that dies with it."""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from config.server.parent import die_with_parent, print_lines_at_once, set_process_title
from config.server.startup import StartupError


@dataclass(frozen=True)
class ServerPart:
    name: str
    run: Callable[[], object]


def start(part: ServerPart, close_in_parts: Iterable[Callable[[], object]]) -> tuple[int, int]:
    """Start a part and give its process id and the end of a pipe where it is heard.

    The part is a process group of its own, so that Ctrl-C reaches the launcher alone.
    """
    output, input_of_part = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            die_with_parent(parent)
            _become(part, input_of_part, close_in_parts)
        finally:
            os._exit(1)
    os.close(input_of_part)
    return pid, output


def _become(
    part: ServerPart, output: int, close_in_parts: Iterable[Callable[[], object]]
) -> NoReturn:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    print_lines_at_once()
    for close in close_in_parts:
        close()
    set_process_title(part.name)
    gc.enable()
    os._exit(_exit_code_of(part.run))


def _exit_code_of(run: Callable[[], object]) -> int:
    code = 0
    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except StartupError as error:
        print(error, file=sys.stderr)
        code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code
