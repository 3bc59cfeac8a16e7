"""The bytes of progress bars that redraw several lines, as tqdm and rich write them."""

CLEAR, UP = "\x1b[2K", "\x1b[1A"


def tqdm_bars(rounds: int = 4, drawings: int = 200) -> bytes:
    """Two nested bars of tqdm: position 0, and position 1 with `leave=False`; a print between."""
    written = [f"\r{_tqdm_bar(0, rounds)}"]
    for number in range(rounds):
        for step in range(drawings):
            written.append(f"\n\r{_tqdm_bar(step, drawings, 'inner: ')}\x1b[A")
        width = len(_tqdm_bar(drawings, drawings, "inner: "))
        written.append(f"\n\r{' ' * width}\x1b[A")
        written.append(f"\repoch {number} is over{' ' * width}\n")
        written.append(f"\r{_tqdm_bar(number + 1, rounds)}")
    return "".join([*written, "\n"]).encode()


def rich_bars(rounds: int = 4, drawings: int = 50) -> bytes:
    """Return what rich's Progress writes with two tasks and a print, on a forced terminal."""
    written = ["\x1b[?25l"]
    top = ""
    for number in range(rounds):
        for step in range(drawings):
            bars = f"{_rich_bar('outer', number, rounds)}\n{_rich_bar('inner', step, drawings)}"
            written.append(f"{top or chr(13) + CLEAR}{bars}")
            top = f"\r{CLEAR}{UP}{CLEAR}"
        written.append(f"{top}epoch \x1b[1;36m{number}\x1b[0m is over\n{bars}")
    bars = f"{_rich_bar('outer', rounds, rounds)}\n{_rich_bar('inner', drawings, drawings)}"
    return "".join([*written, f"{top}{bars}\n\x1b[?25h"]).encode()


def _tqdm_bar(step: int, of: int, name: str = "outer: ") -> str:
    done = "█" * (10 * step // of)
    return f"{name}{100 * step // of:3}%|{done:<10}| {step}/{of} [00:01<00:02, 9.75it/s]"


def _rich_bar(name: str, step: int, of: int) -> str:
    done, left = "━" * (40 * step // of), "━" * (40 - 40 * step // of)
    bar = f"\x1b[91m{done}\x1b[0m\x1b[90m{left}\x1b[0m"
    return f"{name} {bar} \x1b[35m{100 * step // of:3}%\x1b[0m \x1b[36m0:00:00\x1b[0m"
