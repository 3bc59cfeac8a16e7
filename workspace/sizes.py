"""Numbers of bytes as people read and enter them: decimal units, so 1 GB is 10^9 bytes."""

MEGABYTE = 10**6
GIGABYTE = 10**9
UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(size: float) -> str:
    """Return a number of bytes in B, kB, MB, GB or TB, with about three digits."""
    power = 0
    while size >= 1000 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    digits = 0 if power == 0 or size >= 100 else 1 if size >= 10 else 2
    return f"{size:.{digits}f} {UNITS[power]}"
