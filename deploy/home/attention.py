"""What of a team needs somebody's attention now, each with the page where to look."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.urls import reverse

from deploy.home.recent_runs import LATELY
from runs.selectors import runs_of
from workspace.accounts.selectors import open_invitations
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.environments.selectors import environments_of
from workspace.models import ComputeTarget, EnvironmentState, Membership
from workspace.sizes import size_text
from workspace.targets.sharing import offers_for

MAX_OF_A_KIND = 5
LOW_DISK_SHARE = 0.05


@dataclass(frozen=True)
class AttentionItem:
    """What needs attention: `tone` is bad, warn or info; `href` is empty where there is no page."""

    tone: str
    title: str
    detail: str
    href: str = ""


def attention_of(
    member: Membership, targets: Sequence[ComputeTarget], now: datetime
) -> list[AttentionItem]:
    """Return what needs attention, the worst first; what only admins can do is for them alone."""
    items = [
        *_low_disk(),
        *_unreachable_targets(member, targets),
        *_hung_runs(member),
        *_failed_builds(member, now),
    ]
    if member.is_admin:
        items += [*_offers(member), *_invitations(member)]
    return items


def _low_disk() -> Iterator[AttentionItem]:
    disk = shutil.disk_usage(settings.TRAINYARD_HOME)
    if disk.free < LOW_DISK_SHARE * disk.total:
        yield AttentionItem(
            "bad",
            "The server's disk is nearly full",
            f"{size_text(disk.free)} of {size_text(disk.total)} are free. Delete runs that nobody"
            " needs, or ask the installation's admin for more.",
        )


def _unreachable_targets(
    member: Membership, targets: Sequence[ComputeTarget]
) -> Iterator[AttentionItem]:
    for target in [one for one in targets if one.unreachable_since][:MAX_OF_A_KIND]:
        yield AttentionItem(
            "bad",
            f"Compute target {target.name} is unreachable",
            target.unreachable_reason,
            reverse("runs:target", args=[member.team.slug, target.name]),
        )


def _hung_runs(member: Membership) -> Iterator[AttentionItem]:
    hung = runs_of(member.team).filter(ended_at=None, hung_since__isnull=False)
    for run in hung.order_by("hung_since")[:MAX_OF_A_KIND]:
        yield AttentionItem(
            "warn",
            f"Run #{run.number} makes no progress",
            "No new log output, file write or CPU use.",
            reverse("runs:logs", args=[member.team.slug, run.number]),
        )


def _failed_builds(member: Membership, now: datetime) -> Iterator[AttentionItem]:
    failed = environments_of(member.team).filter(
        state=EnvironmentState.FAILED, last_used_at__gte=now - LATELY
    )
    for environment in failed[:MAX_OF_A_KIND]:
        version = EnvironmentSpec.from_json(environment.spec).framework_version
        yield AttentionItem(
            "bad",
            f"The environment {environment.digest[:12]} could not be built",
            f"TensorFlow {version}." if version else "",
            reverse("workspace:environment", args=[member.team.slug, environment.pk]),
        )


def _offers(member: Membership) -> Iterator[AttentionItem]:
    for offer in offers_for(member.team)[:MAX_OF_A_KIND]:
        yield AttentionItem(
            "info",
            f"{offer.target.team.name} offers the compute target {offer.target.name}",
            "Accept or decline it on the page of compute targets.",
            reverse("workspace:targets", args=[member.team.slug]),
        )


def _invitations(member: Membership) -> Iterator[AttentionItem]:
    count = open_invitations(member.team).count()
    if count:
        yield AttentionItem(
            "info",
            "1 invitation is open" if count == 1 else f"{count} invitations are open",
            "Whoever has the link can join the team.",
            reverse("workspace:members", args=[member.team.slug]),
        )
