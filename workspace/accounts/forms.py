"""The forms of accounts and teams. What they may hold, the services decide."""

import math
from typing import Any

from django import forms
from django.contrib.auth.forms import UsernameField

from workspace.models import Role, Scope, Team
from workspace.platform.forms import UnsuffixedForm
from workspace.sizes import GIGABYTE, MEGABYTE

PASSWORD_MAX_LENGTH = 4096


def _password(label: str, *, autocomplete: str, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        strip=False,
        max_length=PASSWORD_MAX_LENGTH,
        help_text=help_text,
        widget=forms.PasswordInput(attrs={"autocomplete": autocomplete}),
    )


class LoginForm(UnsuffixedForm):
    username = UsernameField(label="User name", max_length=150)
    password = _password("Password", autocomplete="current-password")


class _NewPassword(UnsuffixedForm):
    password = _password(
        "New password", autocomplete="new-password", help_text="At least 8 characters."
    )
    again = _password("New password again", autocomplete="new-password")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        password, again = cleaned.get("password"), cleaned.get("again")
        if password and again and password != again:
            self.add_error("again", "The passwords do not match.")
        return cleaned


class SignUpForm(_NewPassword):
    """A new user's name and password, asked for when an invitation is accepted."""

    username = UsernameField(label="User name", max_length=150)
    field_order = ("username", "password", "again")


class ChangePasswordForm(_NewPassword):
    current = _password("Current password", autocomplete="current-password")
    revoke_tokens = forms.BooleanField(
        label="Revoke my API tokens",
        required=False,
        initial=True,
        help_text="Leave it on if somebody else may know the password. Programs then need new"
        " tokens.",
    )
    field_order = ("current", "password", "again", "revoke_tokens")


class TokenForm(UnsuffixedForm):
    name = forms.CharField(max_length=100, help_text="For example CI or laptop.")
    scope = forms.ChoiceField(
        choices=[
            (Scope.READ.value, "read: view everything"),
            (Scope.WRITE.value, "write: also submit, register, deploy and score"),
            (Scope.ADMIN.value, "admin: also manage compute targets"),
        ],
        initial=Scope.WRITE.value,
        help_text="A token is also limited by your role in each team.",
    )
    days = forms.TypedChoiceField(
        label="Expires",
        choices=[(30, "in 30 days"), (90, "in 90 days"), (365, "in a year"), ("", "never")],
        coerce=int,
        empty_value=None,
        required=False,
        initial=90,
    )


class RoleForm(UnsuffixedForm):
    role = forms.ChoiceField(choices=Role.choices, initial=Role.MEMBER.value)


class TeamForm(UnsuffixedForm):
    """A new team."""

    name = forms.CharField(max_length=100)
    slug = forms.CharField(
        label="Short name",
        max_length=32,
        help_text="Part of every URL of the team: lowercase letters, digits and hyphens. It"
        " can't be changed later.",
    )


class TeamSettingsForm(UnsuffixedForm):
    """A team's name and limits, in the units that people think in."""

    name = forms.CharField(max_length=100)
    snapshot_max_mb = forms.IntegerField(
        label="Maximum upload size (MB)", min_value=1, max_value=MEGABYTE
    )
    snapshot_max_files = forms.IntegerField(
        label="Maximum files added or changed per upload", min_value=1, max_value=1_000_000
    )
    keep_runs_days = forms.IntegerField(
        label="Delete runs after (days)",
        min_value=1,
        max_value=100_000,
        required=False,
        help_text="Counted from their end. Empty: never.",
    )
    keep_runs_gb = forms.FloatField(
        label="Keep runs up to (GB)",
        min_value=0.001,
        max_value=1_000_000,
        required=False,
        help_text="Beyond that the runs that ended first are deleted. Empty: no limit.",
    )

    @staticmethod
    def initial_of(team: Team) -> dict[str, Any]:
        return {
            "name": team.name,
            "snapshot_max_mb": math.ceil(team.snapshot_max_bytes / MEGABYTE),
            "snapshot_max_files": team.snapshot_max_files,
            "keep_runs_days": team.keep_runs_days,
            "keep_runs_gb": team.keep_runs_bytes and team.keep_runs_bytes / GIGABYTE,
        }

    def changes(self) -> dict[str, Any]:
        keep_gb = self.cleaned_data["keep_runs_gb"]
        return {
            "name": self.cleaned_data["name"],
            "snapshot_max_bytes": self.cleaned_data["snapshot_max_mb"] * MEGABYTE,
            "snapshot_max_files": self.cleaned_data["snapshot_max_files"],
            "keep_runs_days": self.cleaned_data["keep_runs_days"],
            "keep_runs_bytes": keep_gb and round(keep_gb * GIGABYTE),
        }
