"""What may go wrong for a person, said in words; pages and the API turn these into answers."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str
    message: str


class DomainError(Exception):
    """A request cannot be met; the message is for whoever made it."""

    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST

    def __init__(
        self, message: str, *, errors: Iterable[FieldError] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.errors = tuple(errors)
        self.retry_after = retry_after

    def problem(self) -> dict[str, Any]:
        """Give the body of an RFC 9457 problem document."""
        return problem(self.status, self.message, self.errors)

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class Invalid(DomainError):
    status = HTTPStatus.BAD_REQUEST

    @classmethod
    def of(cls, *errors: FieldError) -> "Invalid":
        """Make one error of all that is wrong, each naming its field."""
        return cls(" ".join(f"{error.field}: {error.message}" for error in errors), errors=errors)


class Forbidden(DomainError):
    status = HTTPStatus.FORBIDDEN


class NotFound(DomainError):
    status = HTTPStatus.NOT_FOUND


class Conflict(DomainError):
    status = HTTPStatus.CONFLICT


class TooLarge(DomainError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class TooMany(DomainError):
    status = HTTPStatus.TOO_MANY_REQUESTS


class Unavailable(DomainError):
    status = HTTPStatus.SERVICE_UNAVAILABLE


def problem(status: int, detail: str, errors: Iterable[FieldError] = ()) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "errors": [asdict(error) for error in errors],
    }
