"""What may go wrong for a person, said in words; pages and the API turn these into answers."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar

from django.core.exceptions import ValidationError
from django.db import models

Result = TypeVar("Result")


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
        """Return the body of an RFC 9457 problem document."""
        return problem(self.status, self.message, self.errors)

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class Invalid(DomainError):
    status = HTTPStatus.BAD_REQUEST

    @classmethod
    def of(cls, *errors: FieldError) -> "Invalid":
        """Make one error of all that is wrong, each naming its field."""
        return cls(" ".join(f"{error.field}: {error.message}" for error in errors), errors=errors)


@dataclass
class CollectedErrors:
    """The errors of several steps, so that one hides none of another."""

    errors: list[FieldError] = field(default_factory=list)

    def of(self, step: Callable[[], Result], otherwise: Result) -> Result:
        """Return what a step gives, or `otherwise` where it raises Invalid."""
        try:
            return step()
        except Invalid as invalid:
            self.errors += invalid.errors
            return otherwise

    def raise_all(self) -> None:
        if self.errors:
            raise Invalid.of(*self.errors)


class Forbidden(DomainError):
    status = HTTPStatus.FORBIDDEN

    @classmethod
    def of(cls, *errors: FieldError) -> "Forbidden":
        """Make one error of all that the caller may not set, each naming its field."""
        return cls(" ".join(f"{error.field}: {error.message}" for error in errors), errors=errors)


class NotFound(DomainError):
    status = HTTPStatus.NOT_FOUND


class Conflict(DomainError):
    status = HTTPStatus.CONFLICT


class TooLarge(DomainError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class TooManyRequests(DomainError):
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


def model_errors(thing: models.Model, *overlooked: str) -> list[FieldError]:
    """Return everything that a model's own rules refuse, but for some fields."""
    try:
        thing.full_clean(exclude=overlooked)
    except ValidationError as error:
        return [
            FieldError(field, message)
            for field, messages in error.message_dict.items()
            for message in messages
        ]
    return []
