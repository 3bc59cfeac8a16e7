"""Which revision answers a request: by weight, and for a sticky caller the same one each time."""

import math
import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar

HASH_BYTES = 8
HASHES = 1 << (8 * HASH_BYTES)


class Weighted(Protocol):
    @property
    def pk(self) -> int: ...

    @property
    def weight(self) -> int: ...


W = TypeVar("W", bound=Weighted)


def pick_revision(choices: Sequence[W], caller: bytes = b"") -> W:
    """Return one of some choices; by chance, or always the same for a caller that is named.

    When weights change, only the callers change their choice that have to: each choice has a score
    from a hash of its own, which grows with its weight, and the highest score wins.
    """
    if len(choices) == 1:
        return choices[0]
    if not caller:
        weights = [choice.weight for choice in choices]
        return random.choices(choices, weights)[0]  # noqa: S311 - chance, not secrecy
    return max(choices, key=lambda choice: _score(choice, caller))


def _score(choice: Weighted, caller: bytes) -> float:
    digest = blake2b(b"%d:%b" % (choice.pk, caller), digest_size=HASH_BYTES).digest()
    chance = (int.from_bytes(digest) + 0.5) / HASHES
    return -choice.weight / math.log(chance)
