"""Log-in as the rule for every page, and domain errors turned into answers."""

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from workspace.answers import API_PREFIX, answer_to
from workspace.errors import DomainError, Invalid, NotFound
from workspace.selectors import membership_for

HAS_ONE_TIME_PASSWORD = "has_one_time_password"  # noqa: S105 (a key of the session)
OPEN_TO_ONE_TIME_PASSWORDS = {"workspace:password", "workspace:logout"}


class SignedIn(LoginRequiredMiddleware):
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
                return answer_to(request, error)
        return None


class DomainErrors:
    """Answer the domain errors that views raise, and questions that no database can be asked."""

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        return self.get_response(request)

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[object, ...],
        view_kwargs: dict[str, object],
    ) -> HttpResponse | None:
        if "%00" in request.META["QUERY_STRING"]:
            return answer_to(request, Invalid("The address holds a NUL character: leave %00 out."))
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return answer_to(request, error) if isinstance(error, DomainError) else None
