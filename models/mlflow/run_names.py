"""Names for runs that nobody named."""

from random import choice, randrange

QUALITIES = ["bold", "bright", "calm", "clever", "eager", "fair", "gentle", "glad", "keen", "kind"]
NOUNS = ["badger", "crane", "deer", "falcon", "fox", "heron", "lynx", "otter", "robin", "whale"]


def generated_name() -> str:
    return f"{choice(QUALITIES)}-{choice(NOUNS)}-{randrange(1000)}"  # noqa: S311 - no secret
