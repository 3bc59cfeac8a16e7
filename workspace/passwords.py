"""Logging in with a password: failures are counted and slow a guesser down."""

from datetime import datetime, timedelta
from math import ceil

from django.contrib.auth import authenticate, login, update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from workspace.errors import FieldError, Invalid, TooMany
from workspace.middleware import HAS_ONE_TIME_PASSWORD
from workspace.models import LoginFailure, OneTimePassword

WINDOW = timedelta(minutes=5)
FAILURES_PER_NAME = 5
# A whole office may share one address, and each of its people may mistype.
FAILURES_PER_ADDRESS = 20


def log_in_with_password(request: HttpRequest, *, name: str, password: str) -> User | None:
    """Log a user in and give them, or None when name or password is wrong.

    Raises TooMany after too many failures for the name or from the address. Names that do not
    exist are counted and answered like those that do.
    """
    name_key = _key("name", User.normalize_username(name).casefold())
    address_key = _key("address", request.META.get("REMOTE_ADDR", ""))
    # Counted before the password is looked at, so that guesses made at once count each other.
    attempts = LoginFailure.objects.bulk_create(
        [LoginFailure(key=name_key), LoginFailure(key=address_key)]
    )
    own = LoginFailure.objects.filter(pk__in=[attempt.pk for attempt in attempts])
    now = timezone.now()
    LoginFailure.objects.filter(at__lte=now - WINDOW).delete()
    blocked = [
        _blocked_until(name_key, FAILURES_PER_NAME),
        _blocked_until(address_key, FAILURES_PER_ADDRESS),
    ]
    until = max((moment for moment in blocked if moment is not None), default=None)
    if until is not None:
        own.delete()
        seconds = max(1, ceil((until - now).total_seconds()))
        raise TooMany(
            f"Too many failed log-ins. Try again in {_in_words(seconds)}.", retry_after=seconds
        )
    user = authenticate(request, username=name, password=password)
    if not isinstance(user, User):
        return None
    own.delete()
    LoginFailure.objects.filter(key=name_key).delete()
    open_session(request, user)
    return user


def open_session(request: HttpRequest, user: User) -> None:
    """Log a user in under a new session; one with a one-time password must change it first."""
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    if OneTimePassword.objects.filter(user=user).exists():
        request.session[HAS_ONE_TIME_PASSWORD] = True


@transaction.atomic
def change_password(request: HttpRequest, *, user: User, current: str, password: str) -> None:
    """Give a user a new password, keep this session and end all their others."""
    errors = password_errors(password, user)
    if not user.check_password(current):
        errors.insert(0, FieldError("current", "This is not your current password."))
    elif current == password:
        errors.insert(0, FieldError("password", "This is your current password; choose another."))
    if errors:
        raise Invalid.of(*errors)
    user.set_password(password)
    user.save(update_fields=["password"])
    OneTimePassword.objects.filter(user=user).delete()
    request.session.pop(HAS_ONE_TIME_PASSWORD, None)
    update_session_auth_hash(request, user)


def new_user(*, name: str, password: str) -> User:
    """Make a user, not saved yet. Raises Invalid with everything wrong with name and password."""
    user = User(username=User.normalize_username(name))
    errors = password_errors(password, user)
    try:
        user.full_clean(exclude=["password"])
    except ValidationError as error:
        errors += [FieldError("username", message) for message in error.messages]
    else:
        # Names that differ only in case would let one user pass for another.
        if User.objects.filter(username__iexact=user.username).exists():
            errors.append(FieldError("username", "This user name is taken."))
    if errors:
        raise Invalid.of(*errors)
    user.set_password(password)
    return user


def password_errors(password: str, user: User) -> list[FieldError]:
    try:
        validate_password(password, user)
    except ValidationError as error:
        return [FieldError("password", message) for message in error.messages]
    return []


def _key(kind: str, value: str) -> str:
    # Keyed, because people type passwords into the name's field.
    return salted_hmac("workspace.passwords", f"{kind}:{value}", algorithm="sha256").hexdigest()


def _blocked_until(key: str, limit: int) -> datetime | None:
    """Give the time at which one more attempt is allowed, when there were too many."""
    attempts = LoginFailure.objects.filter(key=key).order_by("-at", "-pk")
    # The attempt being made is the newest; `limit` earlier ones use up the allowance.
    newest = list(attempts.values_list("at", flat=True)[: limit + 1])
    return newest[limit] + WINDOW if len(newest) > limit else None


def _in_words(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{ceil(seconds / 60)} min"
