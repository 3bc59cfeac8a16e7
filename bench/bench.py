"""What the rows share: one running site, and peers where they are asked for."""

import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from bench.engine import ContainerSite
from bench.site import Site


class Bench:
    def __init__(self, say: Callable[[str], None], *, has_peers: bool) -> None:
        self.say = say
        self.has_peers = has_peers
        self._folder = tempfile.TemporaryDirectory(prefix="ty-bench-")
        self.folder = Path(self._folder.name)
        self._started: list[Site] = []

    @cached_property
    def site(self) -> Site:
        """A running site whose environment is built and whose code was run once."""
        site = self.new_site("site")
        site.start()
        self.say("building the environment of the runs")
        for _ in range(2):
            site.wait(site.submit("hello"))
        return site

    @cached_property
    def containers(self) -> ContainerSite:
        """A running site whose runs are containers."""
        site = ContainerSite(self.folder / "containers")
        self._started.append(site)
        site.start()
        return site

    def new_site(self, name: str) -> Site:
        site = Site(self.folder / name)
        self._started.append(site)
        return site

    def close(self) -> None:
        for site in self._started:
            site.end()
        self._folder.cleanup()
