"""Every page requires a login and, where its address names a team, membership."""

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from workspace.accounts.passwords import HAS_ONE_TIME_PASSWORD
from workspace.accounts.selectors import membership_for
from workspace.platform.errors import NotFound
from workspace.platform.responses import API_PREFIX, error_response

OPEN_TO_ONE_TIME_PASSWORDS = {"workspace:password", "workspace:logout"}


class LoginAndMembershipMiddleware(LoginRequiredMiddleware):
    """Let only logged-in users see pages that do not say otherwise with login_not_required.

    A user with a one-time password sees nothing but the page that changes it, and pages whose
    address names a team are there only for its members. The API has its own log-in.
    """

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[object, ...],
        view_kwargs: dict[str, object],
    ) -> HttpResponseBase | None:
        if request.path.startswith((API_PREFIX, settings.STATIC_URL)):
            return None
        if not getattr(view_func, "login_required", True):
            return None
        refusal = super().process_view(request, view_func, view_args, view_kwargs)
        if refusal is not None:
            return refusal
        page = request.resolver_match.view_name if request.resolver_match else ""
        if request.session.get(HAS_ONE_TIME_PASSWORD) and page not in OPEN_TO_ONE_TIME_PASSWORDS:
            return redirect("workspace:password")
        if "slug" in view_kwargs:
            try:
                membership_for(request.user, str(view_kwargs["slug"]))
            except NotFound as error:
                return error_response(request, error)
        return None
