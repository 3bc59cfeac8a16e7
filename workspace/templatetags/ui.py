"""Template tags every page shares: icons, status pills, times, sizes, roles."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from workspace.models import Membership, Role, Team
from workspace.sizes import size_text

register = template.Library()

NOTHING = "\N{EN DASH}"

# state word -> (tone, icon); every state of every noun is listed here once.
STATES: dict[str, tuple[str, str]] = {
    # runs
    "queued": ("wait", "clock"),
    "preparing": ("busy", "package"),
    "starting": ("busy", "rocket"),
    "running": ("busy", "pulse"),
    "finalizing": ("busy", "inbox"),
    "completed": ("good", "check"),
    "failed": ("bad", "cross"),
    "canceled": ("calm", "slash"),
    # processes and replicas
    "created": ("wait", "clock"),
    "ready": ("good", "check"),
    "exited": ("calm", "square"),
    "stopping": ("wait", "inbox"),
    "stopped": ("calm", "square"),
    "ended": ("calm", "square"),
    "lost": ("bad", "cross"),
    # services
    "transitioning": ("busy", "rocket"),
    "healthy": ("good", "check"),
    "unhealthy": ("warn", "alert"),
    # inputs held against a baseline
    "steady": ("good", "check"),
    "moved": ("warn", "alert"),
    "drifted": ("bad", "alert"),
    # imports and conversions
    "waiting": ("wait", "clock"),
    "done": ("good", "check"),
    # stages of model versions
    "production": ("good", "rocket"),
    "staging": ("warn", "layers"),
    "archived": ("calm", "folder"),
    # environments and targets
    "pending": ("wait", "clock"),
    "building": ("busy", "package"),
    "paused": ("warn", "pause"),
    "open": ("good", "check"),
    "draining": ("warn", "inbox"),
    "off": ("warn", "pause"),
    "unreachable": ("bad", "alert"),
    # steps of a connection test
    "ok": ("good", "check"),
    "skipped": ("calm", "slash"),
    "expired": ("calm", "slash"),
    "revoked": ("calm", "slash"),
}


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """Draw an icon of static/img/icons.svg; without a label it is decoration."""
    address = f"{static('img/icons.svg')}#{name}"
    if label:
        return format_html(
            '<svg class="icon" role="img" aria-label="{}"><use href="{}"></use></svg>',
            label,
            address,
        )
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}"></use></svg>', address)


@register.filter
def style_sheets(names: str) -> list[str]:
    """Return the addresses of style sheets by their names: "log charts"|style_sheets."""
    return [static(f"css/{name}.css") for name in names.split()]


@register.simple_tag
def status_pill(state: str, text: str = "") -> SafeString:
    """Show a state as an icon and a word; the colour only repeats what they say."""
    tone, drawing = STATES.get(str(state).lower(), ("calm", "square"))
    return format_html(
        '<span class="pill pill-{}" data-state="{}">{}<span>{}</span></span>',
        tone,
        str(state).lower(),
        icon(drawing),
        text or str(state).capitalize(),
    )


@register.simple_tag
def moment(value: datetime | None, empty: str = NOTHING) -> SafeString | str:
    """Show a time relative to now, its exact value and zone in the title; kept fresh by app.js."""
    if value is None:
        return empty
    local = timezone.localtime(value)
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        local.isoformat(timespec="milliseconds"),
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        relative(value),
    )


@register.simple_tag
def server_time() -> str:
    """Return the time now, from which pages count how long ago something was."""
    return timezone.now().isoformat(timespec="milliseconds")


@register.filter
def relative(value: datetime | None) -> str:
    """Return how long ago (or ahead) a time is, in one unit, as times.js does."""
    if value is None:
        return NOTHING
    seconds = (timezone.now() - value).total_seconds()
    words = span_words(abs(seconds))
    if words == "now":
        return "just now"
    return f"{words} ago" if seconds >= 0 else f"in {words}"


def span_words(seconds: float) -> str:
    for size, unit in ((86400 * 365, "y"), (86400 * 30, "mo"), (86400, "d"), (3600, "h")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    if seconds >= 60:
        return f"{int(seconds // 60)} min"
    return f"{int(seconds)} s" if seconds >= 5 else "now"


@register.filter
def duration(value: timedelta | float | None) -> str:
    """Write a length of time as `1 h 4 min`, `2 min 5 s` or `0.4 s`; at most two units."""
    if value is None:
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [(amount, unit) for amount, unit in parts if amount]
    first = parts.index(shown[0])
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount)


@register.filter
def filesize(value: float | None) -> str:
    """Write bytes in decimal units, such as 64.0 GB."""
    return NOTHING if value is None else size_text(float(value))


@register.filter
def measured(value: float | None) -> str:
    """Write what was measured with six digits that count, such as 0.0312 or 1.5e-07."""
    return NOTHING if value is None else f"{value:.6g}"


@register.filter
def may(membership: Membership | None, role: str) -> bool:
    """Return whether a member's role covers `role`: {% if membership|may:"member" %}."""
    return membership is not None and Role(membership.role).covers(Role(role))


@register.simple_tag
def teams_of(user: Any) -> Iterable[Team]:
    """List the teams that a user may switch to."""
    if not getattr(user, "is_authenticated", False):
        return Team.objects.none()
    return Team.objects.filter(memberships__user=user).order_by("slug")


@register.simple_tag(takes_context=True)
def nav_link(
    context: template.Context, address: str, drawing: str, text: str, *, is_exact: bool = False
) -> SafeString:
    """Draw a link of the side navigation, marked on its page and, if not exact, on those below."""
    path = request.path if (request := context.get("request")) else ""
    here = path == address if is_exact else path.startswith(address)
    return format_html(
        '<a class="nav-link" href="{}"{}>{}<span>{}</span></a>',
        address,
        SafeString(' aria-current="page"') if here else "",
        icon(drawing),
        text,
    )
