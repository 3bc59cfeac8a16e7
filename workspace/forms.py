"""The forms of accounts and teams. What they may hold, the services decide."""

from typing import Any

from django import forms
from django.contrib.auth.forms import UsernameField

from workspace.errors import DomainError
from workspace.models import MEBIBYTE, Role, Scope, Team

PASSWORD_MAX_LENGTH = 4096


def add_errors(form: forms.Form, refusal: DomainError) -> None:
    """Show what a service refused beside the fields it names."""
    if not refusal.errors:
        form.add_error(None, refusal.message)
    for error in refusal.errors:
        form.add_error(error.field if error.field in form.fields else None, error.message)


class Form(forms.Form):
    """A form whose labels stand above their fields, so that they need no colon."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})


def _password(label: str, *, autocomplete: str, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label,
        strip=False,
        max_length=PASSWORD_MAX_LENGTH,
        help_text=help_text,
        widget=forms.PasswordInput(attrs={"autocomplete": autocomplete}),
    )


class LoginForm(Form):
    username = UsernameField(label="User name", max_length=150)
    password = _password("Password", autocomplete="current-password")


class _NewPassword(Form):
    password = _password(
        "New password", autocomplete="new-password", help_text="At least 8 characters."
    )
    again = _password("New password again", autocomplete="new-password")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        password, again = cleaned.get("password"), cleaned.get("again")
        if password and again and password != again:
            self.add_error("again", "The two passwords differ.")
        return cleaned


class AccountForm(_NewPassword):
    """A new user's name and password, asked for when an invitation is accepted."""

    username = UsernameField(label="User name", max_length=150)
    field_order = ("username", "password", "again")


class PasswordForm(_NewPassword):
    current = _password("Current password", autocomplete="current-password")
    field_order = ("current", "password", "again")


class TokenForm(Form):
    name = forms.CharField(max_length=100, help_text="What it is for, such as CI or laptop.")
    scope = forms.ChoiceField(
        choices=[
            (Scope.READ.value, "read: look at everything"),
            (Scope.WRITE.value, "write: also submit, register, deploy and score"),
            (Scope.ADMIN.value, "admin: also manage compute targets"),
        ],
        initial=Scope.WRITE.value,
        help_text="A token can do no more than your own role in a team allows.",
    )
    days = forms.TypedChoiceField(
        label="Expires",
        choices=[(30, "in 30 days"), (90, "in 90 days"), (365, "in a year"), ("", "never")],
        coerce=int,
        empty_value=None,
        required=False,
        initial=90,
    )


class RoleForm(Form):
    role = forms.ChoiceField(choices=Role.choices, initial=Role.MEMBER.value)


class TeamForm(Form):
    """A new team."""

    name = forms.CharField(max_length=100)
    slug = forms.CharField(
        label="Short name",
        max_length=32,
        help_text="Part of every address of the team: small letters, digits and hyphens. It cannot"
        " be changed later.",
    )


class TeamSettingsForm(Form):
    """A team's name and limits, in the units that people think in."""

    name = forms.CharField(max_length=100)
    snapshot_max_mib = forms.IntegerField(
        label="Largest upload (MiB)", min_value=1, max_value=1024 * 1024
    )
    snapshot_max_files = forms.IntegerField(
        label="Most files added or changed in one upload", min_value=1, max_value=1_000_000
    )

    @staticmethod
    def initial_of(team: Team) -> dict[str, Any]:
        return {
            "name": team.name,
            "snapshot_max_mib": max(1, team.snapshot_max_bytes // MEBIBYTE),
            "snapshot_max_files": team.snapshot_max_files,
        }

    def changes(self) -> dict[str, Any]:
        return {
            "name": self.cleaned_data["name"],
            "snapshot_max_bytes": self.cleaned_data["snapshot_max_mib"] * MEBIBYTE,
            "snapshot_max_files": self.cleaned_data["snapshot_max_files"],
        }
