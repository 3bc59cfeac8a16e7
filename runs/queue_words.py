"""Why a run waits, in one sentence with numbers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from heapq import nlargest
from math import inf, isfinite
from operator import itemgetter

from runs.queue_floor import Floor
from runs.queue_terms import ROUNDING, Holding, Limits, Machine, Quota, Share, TargetTerms, Waiting

HOLDERS = 2
FOR_OTHERS = "which runs that come first wait for"
RESOURCES = ("gpus", "cpus", "memory_bytes")


class Words:
    """Collects why runs wait; those that wait for nodes are told when all is decided."""

    def __init__(self, floor: Floor, held: Sequence[Holding], limits: Limits) -> None:
        self._floor = floor
        self._held = held
        self._limits = limits
        self._waits: list[tuple[Waiting, bool]] = []
        self._ways: dict[int, Sequence[Holding]] = {}
        self._known: dict[tuple[object, ...], str] = {}
        self._of_targets: dict[int, Share] = {}
        self._of_teams: dict[tuple[int, int], Share] = {}
        for one in held:
            self._count(one, one.share, int(one.run_id is not None))
        self._free = cache(self._free_on)
        self._most = cache(self._most_of)

    def _count(self, one: Holding | Waiting, share: Share, runs: int) -> None:
        target, team = one.target_id, (one.target_id, one.team_id)
        self._of_targets[target] = self._of_targets.get(target, Share()) + share
        counted = Share(gpus=share.gpus, processes=runs)
        self._of_teams[team] = self._of_teams.get(team, Share()) + counted

    def starts(self, run: Waiting) -> None:
        self._count(run, run.need, 1)

    def spent(self, terms: TargetTerms, quota: Quota) -> str:
        return (
            f"Team {quota.team} has used {quota.gpu_hours_used:.1f} of its {quota.gpu_hours or 0:g}"
            f" GPU-hours of this month on {terms.name}; it waits for the next month or a higher"
            " limit."
        )

    def beyond(self, run: Waiting) -> str:
        terms, quota = self._terms(run), self._quota(run)
        short = run.need.excess_over(terms.most)
        if short or quota is None:
            return f"Needs {'; '.join(short.values())} that target {terms.name} may use."
        return (
            f"Needs {needs(run)}; {_allowed(quota)} on {terms.name}, which an admin would have to"
            " raise."
        )

    def impossible(self, run: Waiting) -> str:
        terms = self._terms(run)
        nodes = self._floor.numbers(terms.nodes)
        if not nodes:
            return f"Needs {needs(run)}; no node of {terms.name} is up."
        all_of = _whole([self._floor.machines[number] for number in nodes])
        nodes_have = f"{len(nodes)} nodes have" if len(nodes) > 1 else "node has"
        return (
            f"Needs {needs(run)}; empty, {terms.name} could not hold it: its {nodes_have}"
            f" {_listed(_amounts(all_of))}."
        )

    def full(self, run: Waiting, is_target: bool) -> str:
        """Say that a limit of the target, or else of the team, is used up."""
        terms, quota = self._terms(run), self._quota(run)
        if is_target or quota is None:
            used = self._of_targets.get(run.target_id, Share())
            why = "; ".join((used + run.need).excess_over(terms.most).values())
            if not why:
                return f"Needs {needs(run)}, {FOR_OTHERS} of what target {terms.name} may use."
            return (
                f"Needs {needs(run)}; with what is held that makes {why} that target"
                f" {terms.name} may use."
            )
        used = self._of_teams.get((run.target_id, run.team_id), Share())
        is_over = (used + Share(gpus=run.need.gpus, processes=1)).excess_over(quota.most)
        why = "" if is_over else ", and its runs that come first need the rest"
        return (
            f"Needs {needs(run)}; {_allowed(quota)} on {terms.name}, where it has"
            f" {_runs(int(used.processes))} and {_amount('gpus', used.gpus)}{why}."
        )

    def waits(self, run: Waiting, fits_now: bool) -> None:
        self._waits.append((run, fits_now))

    def made_way(self, run: Waiting, leaving: Sequence[Holding]) -> None:
        self._ways[run.run_id] = leaving
        if not self._waits or self._waits[-1][0] is not run:
            self._waits.append((run, False))

    def told(self, promised: dict[int, float]) -> dict[int, str]:
        """Say of all that wait for nodes why they do, with what is free after all decisions."""
        first = self._waits[0][0] if self._waits else None
        return {
            run.run_id: self._sentence(run, fits_now, first, promised.get(run.run_id, inf))
            for run, fits_now in self._waits
        }

    def _sentence(self, run: Waiting, fits_now: bool, first: Waiting | None, start: float) -> str:
        leaving = self._ways.get(run.run_id)
        if leaving:
            titles = _listed([self._title(one, run) for one in leaving[:HOLDERS]])
            more = f" and {len(leaving) - HOLDERS} more" if len(leaving) > HOLDERS else ""
            return f"Needs {needs(run)}; {titles}{more}, of low priority, make way for it."
        key = (run.processes, run.target_id, run.team_id, fits_now, run is first)
        if key not in self._known:
            self._known[key] = (
                self._behind(run, first) if fits_now and first else self._short(run, first)
            )
        promise = f" It starts by about {clock(start, self._floor.now)}." if isfinite(start) else ""
        return self._known[key] + (promise if start > self._floor.now else "")

    def _behind(self, run: Waiting, first: Waiting) -> str:
        if run is first:
            return f"Needs {needs(run)}; it starts once the runs that are ending have left."
        return f"Needs {needs(run)}, kept for {self._title(first, run)}, which comes first."

    def _short(self, run: Waiting, first: Waiting | None) -> str:
        free, whole = self._free(run.target_id)
        short = [
            name for name in RESOURCES if getattr(run.need, name) > getattr(free, name) + ROUNDING
        ]
        wanted = [name for name in RESOURCES if getattr(run.need, name)]
        amounts = [
            _amount(name, getattr(free, name), of=getattr(whole, name))
            for name in short[:1] or wanted
        ]
        are = _are(getattr(free, short[0])) if short else "are"
        said = [f"{_listed(amounts)} {are} free" + ("" if short else ", but not together")]
        resource = (short or wanted)[0]
        said += self._holders(run, resource)
        if first is not None and run is not first:
            said.append(f"{self._title(first, run)} comes first")
        return f"Needs {needs(run)}; {'; '.join(said)}."

    def _holders(self, run: Waiting, resource: str) -> list[str]:
        """Say who holds the most of what is short, and until when."""
        return [
            f"{self._title(one, run)} holds {_amount(resource, amount, is_bare=True)}"
            + self._until(one)
            for amount, one in self._most(run.target_id, resource)
        ]

    def _most_of(self, target_id: int, resource: str) -> list[tuple[float, Holding]]:
        nodes = self._floor.numbers(self._limits.targets[target_id].nodes)
        names = {self._floor.machines[number].name for number in nodes}
        amounts = [
            (sum(getattr(part.share, resource) for part in one.parts if part.node in names), one)
            for one in self._held
        ]
        return nlargest(HOLDERS, (one for one in amounts if one[0]), key=itemgetter(0))

    def _free_on(self, target_id: int) -> tuple[Share, Share]:
        """Give what is free on a target's nodes, and what they have."""
        nodes = self._floor.numbers(self._limits.targets[target_id].nodes)
        rooms = [self._floor.free(number) for number in nodes]
        free = Share(*(sum(max(room[at], 0) for room in rooms) for at in range(3)))
        return free, _whole([self._floor.machines[number] for number in nodes])

    def _until(self, holding: Holding) -> str:
        if holding.is_ending:
            return " and is ending"
        if holding.ends_at is None:
            return ""
        return f" until about {clock(holding.ends_at, self._floor.now)}"

    def _title(self, one: Holding | Waiting, reader: Waiting) -> str:
        if one.team_id == reader.team_id:
            return one.title
        return f"another team's {'run' if one.run_id is not None else 'service'}"

    def _terms(self, run: Waiting) -> TargetTerms:
        return self._limits.targets[run.target_id]

    def _quota(self, run: Waiting) -> Quota | None:
        return self._limits.quotas.get((run.target_id, run.team_id))


def needs(run: Waiting) -> str:
    """Say what a run needs: `4 GPUs`, or `2 processes with 4 GPUs each`."""
    count = len(run.processes)
    if len(run.batches) == 1:
        each = _listed(_amounts(run.processes[0]))
        if count == 1:
            return each or "1 process"
        return f"{count} processes" + (f" with {each} each" if each else "")
    together = _listed(_amounts(run.need))
    return f"{count} processes" + (f" with {together} in all" if together else "")


def clock(time: float, now: float) -> str:
    """Give a time of the day in UTC, with the date where it is another day's."""
    at, today = datetime.fromtimestamp(time, UTC), datetime.fromtimestamp(now, UTC)
    return f"{at:%H:%M} UTC" if at.date() == today.date() else f"{at:%Y-%m-%d %H:%M} UTC"


def _amounts(share: Share) -> list[str]:
    return [_amount(name, getattr(share, name)) for name in RESOURCES if getattr(share, name)]


def _amount(resource: str, amount: float, *, of: float | None = None, is_bare: bool = False) -> str:
    """Say an amount: `2 GPUs`, `3 of 8 GPUs` of a whole, `2` alone where that is clear."""
    if resource == "memory_bytes":
        whole = "" if of is None else f" of {of / 1e9:.1f}"
        return f"{amount / 1e9:.1f}{whole} GB" + ("" if is_bare else " of memory")
    count, whole = round(amount, 2), "" if of is None else f" of {round(of, 2):g}"
    unit = {"gpus": "GPU", "cpus": "CPU"}[resource] + ("" if (of or count) == 1 else "s")
    return f"{count:g}{whole}" + ("" if is_bare else f" {unit}")


def _are(count: float) -> str:
    return "is" if count == 1 else "are"


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _allowed(quota: Quota) -> str:
    """Say what a team may hold."""
    parts = []
    if quota.max_runs is not None:
        parts.append(f"{_runs(quota.max_runs)} at once")
    if quota.max_gpus is not None:
        parts.append(_amount("gpus", quota.max_gpus))
    return f"team {quota.team} may have {_listed(parts)}"


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _whole(machines: Sequence[Machine]) -> Share:
    return Share(
        sum(one.cpus for one in machines),
        sum(one.memory_bytes for one in machines),
        sum(len(one.gpus) for one in machines),
    )
