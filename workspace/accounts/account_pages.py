"""Pages of one person: log-in, password, tokens, and the invitation that makes them a member."""

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workspace.accounts.context_processors import current_team
from workspace.accounts.forms import ChangePasswordForm, LoginForm, SignUpForm, TokenForm
from workspace.accounts.passwords import (
    HAS_ONE_TIME_PASSWORD,
    change_password,
    log_in_with_password,
    open_session,
)
from workspace.accounts.selectors import invitation_of, membership
from workspace.accounts.services import (
    accept_invitation,
    issue_token,
    join_with_new_account,
    revoke_token,
)
from workspace.models import ApiToken, Scope
from workspace.platform.errors import Invalid, NotFound, TooManyRequests
from workspace.platform.forms import add_domain_errors
from workspace.platform.requests import SignedInRequest


@require_safe
def home(request: SignedInRequest) -> HttpResponse:
    """Go to the home of the team looked at last, or say how to get into a team."""
    team = current_team(request).get("team")
    return redirect("deploy:home", team.slug) if team else redirect("workspace:teams")


@login_not_required
@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def log_in(request: HttpRequest) -> HttpResponse:
    after = _own_address(request)
    if request.user.is_authenticated:
        return HttpResponseRedirect(after)
    form = LoginForm(request.POST or None)
    status, wait = 200, None
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                user = log_in_with_password(
                    request,
                    name=form.cleaned_data["username"],
                    password=form.cleaned_data["password"],
                )
            except TooManyRequests as error:
                form.add_error(None, error.message)
                status, wait = error.status, error.retry_after
            else:
                if user is not None:
                    return HttpResponseRedirect(after)
                form.add_error(None, "User name or password is wrong.")
    context = {"form": form, "next": request.POST.get("next") or request.GET.get("next", "")}
    response = render(request, "registration/login.html", context, status=status)
    if wait is not None:
        response["Retry-After"] = str(wait)
    return response


def _own_address(request: HttpRequest) -> str:
    """Return the page to go to after log-in; never one of another site."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if is_ours and wanted.startswith("/") else resolve_url("workspace:home")


@login_not_required
@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("workspace:login")


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def password(request: SignedInRequest) -> HttpResponse:
    form = ChangePasswordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            change_password(
                request,
                user=request.user,
                current=form.cleaned_data["current"],
                password=form.cleaned_data["password"],
                revokes_tokens=form.cleaned_data["revoke_tokens"],
            )
        except Invalid as invalid:
            add_domain_errors(form, invalid)
        else:
            revoked = (
                " and your API tokens were revoked" if form.cleaned_data["revoke_tokens"] else ""
            )
            messages.success(request, f"Password changed. Your other sessions ended{revoked}.")
            return redirect("workspace:home")
    context = {"form": form, "is_forced": request.session.get(HAS_ONE_TIME_PASSWORD, False)}
    return render(request, "workspace/password.html", context, status=422 if form.is_bound else 200)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: SignedInRequest) -> HttpResponse:
    """Show a person's tokens; make one, whose secret only this answer holds."""
    form = TokenForm(request.POST or None)
    secret = None
    if request.method == "POST" and form.is_valid():
        _, secret = issue_token(
            user=request.user,
            name=form.cleaned_data["name"],
            scope=Scope(form.cleaned_data["scope"]),
            days=form.cleaned_data["days"],
        )
        form = TokenForm()
    context = {
        "form": form,
        "secret": secret,
        "tokens": ApiToken.objects.filter(user=request.user, revoked_at=None).order_by("-pk"),
    }
    return render(request, "workspace/account.html", context, status=422 if form.is_bound else 200)


@require_POST
def token_revoke(request: SignedInRequest, pk: int) -> HttpResponse:
    token = ApiToken.objects.filter(user=request.user, pk=pk).first()
    if token is None:
        raise NotFound("Token not found.")
    revoke_token(token=token)
    messages.success(request, f"Revoked the token {token.name}.")
    return redirect("workspace:account")


@login_not_required
@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """Let a logged-in person join; let anyone else log in or make an account."""
    found = invitation_of(secret)
    if isinstance(request.user, User):
        if membership(request.user, found.team) is not None:
            messages.info(request, f"You are already a member of {found.team.name}.")
            return redirect("runs:list", found.team.slug)
        if request.method == "POST":
            accept_invitation(secret=secret, user=request.user)
            return _welcome(request, found.team.slug, found.team.name)
        return render(request, "workspace/invitation.html", {"invitation": found})
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = join_with_new_account(
                secret=secret,
                name=form.cleaned_data["username"],
                password=form.cleaned_data["password"],
            )
        except Invalid as invalid:
            add_domain_errors(form, invalid)
        else:
            open_session(request, user)
            return _welcome(request, found.team.slug, found.team.name)
    return render(
        request,
        "workspace/invitation.html",
        {"invitation": found, "form": form},
        status=422 if form.is_bound else 200,
    )


def _welcome(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    messages.success(request, f"Welcome to {name}.")
    return redirect("runs:list", slug)
