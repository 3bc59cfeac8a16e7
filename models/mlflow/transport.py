"""How calls come and are answered: tokens, MLflow's errors, and one view for each address."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Generic

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from models.mlflow.requests import Request, read_request
from workspace.accounts.selectors import team_for
from workspace.accounts.tokens import record_use, token_in, usable_token
from workspace.models import Role, Scope, Team
from workspace.platform.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unavailable,
)

log = logging.getLogger(__name__)
ERROR_CODES: dict[type[DomainError], str] = {
    Invalid: "INVALID_PARAMETER_VALUE",
    Forbidden: "PERMISSION_DENIED",
    NotFound: "RESOURCE_DOES_NOT_EXIST",
    Conflict: "RESOURCE_CONFLICT",
    TooLarge: "INVALID_PARAMETER_VALUE",
    TooManyRequests: "REQUEST_LIMIT_EXCEEDED",
    Unavailable: "TEMPORARILY_UNAVAILABLE",
}
LOG_IN = (
    "Set MLFLOW_TRACKING_TOKEN to an API token that is not expired or revoked; your account's page"
    " makes one."
)


class ProtocolError(DomainError):
    """An error that MLflow's clients tell from others by its code."""

    error_code: ClassVar[str]


class NotLoggedIn(ProtocolError):
    status = HTTPStatus.UNAUTHORIZED
    error_code = "UNAUTHENTICATED"


class AlreadyExists(ProtocolError):
    status = HTTPStatus.BAD_REQUEST
    error_code = "RESOURCE_ALREADY_EXISTS"


class EndpointNotFound(ProtocolError):
    """Clients take this answer for that of an older server, and do without the endpoint."""

    status = HTTPStatus.NOT_FOUND
    error_code = "ENDPOINT_NOT_FOUND"


class WrongMethod(EndpointNotFound):
    status = HTTPStatus.METHOD_NOT_ALLOWED


class NotOffered(ProtocolError):
    status = HTTPStatus.NOT_IMPLEMENTED
    error_code = "NOT_IMPLEMENTED"


@dataclass(frozen=True)
class Caller:
    """Who calls, and the team that the address names."""

    team: Team
    user: User


@dataclass(frozen=True)
class Endpoint(Generic[Request]):
    """An address of the protocol, below its prefix, and who may use it.

    `handler` gets what the call carries as `reads`; `max_bytes` is less than other bodies may have.
    """

    method: str
    path: str
    reads: type[Request]
    handler: Callable[[Caller, Request], Mapping[str, Any]]
    role: Role = Role.MEMBER
    max_bytes: int | None = None

    def answer(self, request: HttpRequest, caller: Caller) -> HttpResponseBase:
        if self.max_bytes is not None and len(request.body) > self.max_bytes:
            raise Invalid(
                f"Requests to {self.path} have at most {self.max_bytes:,} bytes; this one has"
                f" {len(request.body):,}. Send several."
            )
        return JsonResponse(self.handler(caller, read_request(self.reads, request)))


def view_of(methods: Mapping[str, tuple[Role, Callable[..., HttpResponseBase]]]) -> Any:
    """Return the view of one address: for each method the least role, and who answers."""

    @csrf_exempt
    @login_not_required
    def view(request: HttpRequest, slug: str, **names: str) -> HttpResponseBase:
        try:
            if (method := request.method or "") not in methods:
                raise WrongMethod(f"{method} is no method of {request.path}.")
            role, answer = methods[method]
            return answer(request, caller_of(request, slug, role), **names)
        except DomainError as error:
            return error_response(error)
        except RequestDataTooBig:
            return error_response(TooLarge("The request is too large for a JSON body."))
        except (BadRequest, SuspiciousOperation) as error:
            return error_response(Invalid(f"The request cannot be read: {error}"[:500]))
        except Exception as error:
            got_request_exception.send(sender=None, request=request)
            log.error("%s %s failed", request.method, request.path, exc_info=error)
            return _json_error(500, "INTERNAL_ERROR", "Internal error. See the server log.")

    return view


def caller_of(request: HttpRequest, slug: str, role: Role) -> Caller:
    """Return who calls, by an API token: reading needs its scope read, all else write."""
    token = usable_token(token_in(request.headers.get("Authorization", "")))
    if token is None:
        raise NotLoggedIn(LOG_IN)
    team = team_for(token.user, slug, role)
    needed = Scope.READ if role == Role.VIEWER else Scope.WRITE
    if not Scope(token.scope).covers(needed):
        raise Forbidden(f"This needs a token with the scope {needed}; this one's is {token.scope}.")
    record_use(token)
    return Caller(team, token.user)


def error_response(error: DomainError) -> HttpResponseBase:
    code = (
        error.error_code if isinstance(error, ProtocolError) else ERROR_CODES.get(type(error), "")
    )
    answer = _json_error(error.status, code or "INVALID_PARAMETER_VALUE", error.message)
    for name, value in error.headers().items():
        answer[name] = value
    if error.status == HTTPStatus.UNAUTHORIZED:
        answer["WWW-Authenticate"] = "Bearer"
    return answer


@csrf_exempt
@login_not_required
def not_an_endpoint(request: HttpRequest, slug: str, path: str = "") -> HttpResponseBase:
    """Answer whoever asks for what this version does not have."""
    return error_response(EndpointNotFound(f"{request.method} {request.path} is not offered."))


def _json_error(status: int, code: str, message: str) -> HttpResponseBase:
    return JsonResponse({"error_code": code, "message": message}, status=status)
