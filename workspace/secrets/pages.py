"""The page of a team's secrets."""

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.errors import DomainError
from workspace.platform.forms import UnsuffixedForm, add_domain_errors
from workspace.platform.requests import SignedInRequest
from workspace.secrets.services import delete_secret, secret_of, secrets_of, store_secret


class WriteOnlyTextarea(forms.Textarea):
    """A text area that never shows what was entered, as a password field does."""

    def format_value(self, value: object) -> str:
        return ""


class SecretForm(UnsuffixedForm):
    """A new secret, or a new value for one that exists. A page never shows the value again."""

    name = forms.CharField(
        max_length=64,
        help_text="Letters, digits, hyphens, dots and underscores, such as aws-key.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    value = forms.CharField(
        strip=False,
        help_text="Stored encrypted and never shown again. Lines shorter than 6 characters are not"
        " masked in logs.",
        widget=WriteOnlyTextarea(attrs={"rows": "3", "autocomplete": "off", "spellcheck": "false"}),
    )
    may_replace = forms.BooleanField(label="Replace the value if the name exists", required=False)

    def clean_value(self) -> str:
        """Undo the line ends that browsers send."""
        return str(self.cleaned_data["value"]).replace("\r\n", "\n")


@require_http_methods(["GET", "HEAD", "POST"])
def secrets(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the names for all members; admins add and replace."""
    is_post = request.method == "POST"
    team = team_for(request.user, slug, Role.ADMIN if is_post else Role.VIEWER)
    replaced = request.GET.get("replace", "")[:64]
    initial = {"name": replaced, "may_replace": bool(replaced)}
    form = SecretForm(request.POST) if is_post else SecretForm(initial=initial)
    if is_post and form.is_valid():
        try:
            secret, is_new = store_secret(team=team, by=request.user, **form.cleaned_data)
        except DomainError as error:
            add_domain_errors(form, error)
        else:
            said = "Added the secret" if is_new else "Replaced the value of"
            messages.success(request, f"{said} {secret.name}.")
            return redirect("workspace:secrets", slug)
    return render(
        request,
        "workspace/secrets.html",
        {"form": form, "secrets": secrets_of(team)},
        status=422 if is_post else 200,
    )


@require_POST
def secret_delete(request: SignedInRequest, slug: str, name: str) -> HttpResponse:
    team = team_for(request.user, slug, Role.ADMIN)
    delete_secret(secret=secret_of(team, name), by=request.user)
    messages.success(request, f"Deleted the secret {name}.")
    return redirect("workspace:secrets", slug)
