"""Logging in with a password: failures are counted and slow a guesser down."""

from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from math import ceil

from django.contrib.auth import authenticate, login, update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from workspace.accounts.tokens import note_revocation
from workspace.models import ApiToken, LoginFailure, OneTimePassword
from workspace.platform.errors import FieldError, Invalid, TooManyRequests

HAS_ONE_TIME_PASSWORD = "has_one_time_password"  # noqa: S105 (a key of the session)
WINDOW = timedelta(minutes=5)
# Of one name from one address, so that a few failures elsewhere lock nobody out. Behind a proxy
# that TRAINYARD_TRUSTED_PROXIES does not name, all people have one address.
FAILURES_PER_NAME = 5
# Against guessing from very many addresses, and of very many names. Who fails that often on
# purpose, from 20 addresses, keeps a name from logging in for as long as they go on.
FAILURES_PER_NAME_ANYWHERE = 100
FAILURES_PER_ADDRESS = 300
NETWORK_OF_IPV6 = 64  # what one subscriber has


def log_in_with_password(request: HttpRequest, *, name: str, password: str) -> User | None:
    """Log a user in and give them, or None when name or password is wrong.

    Raises TooManyRequests after too many failures for the name from the address, or very many for
    either. Names that do not exist are counted and answered like those that do.
    """
    normalized = User.normalize_username(name).casefold()
    address = _network(request.META.get("REMOTE_ADDR", ""))
    limits = {
        _key("name and address", f"{address} {normalized}"): FAILURES_PER_NAME,
        _key("name", normalized): FAILURES_PER_NAME_ANYWHERE,
        _key("address", address): FAILURES_PER_ADDRESS,
    }
    of_name = list(limits)[:2]
    # Counted before the password is looked at, so that guesses made at once count each other.
    attempts = LoginFailure.objects.bulk_create([LoginFailure(key=key) for key in limits])
    own = LoginFailure.objects.filter(pk__in=[attempt.pk for attempt in attempts])
    now = timezone.now()
    LoginFailure.objects.filter(at__lte=now - WINDOW).delete()
    blocked = [_blocked_until(key, limit) for key, limit in limits.items()]
    until = max((moment for moment in blocked if moment is not None), default=None)
    if until is not None:
        own.delete()
        seconds = max(1, ceil((until - now).total_seconds()))
        raise TooManyRequests(
            f"Too many failed log-ins. Try again in {_in_words(seconds)}.", retry_after=seconds
        )
    user = authenticate(request, username=name, password=password)
    if not isinstance(user, User):
        return None
    own.delete()
    LoginFailure.objects.filter(key__in=of_name).delete()
    open_session(request, user)
    return user


def open_session(request: HttpRequest, user: User) -> None:
    """Log a user in under a new session; one with a one-time password must change it first."""
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    if OneTimePassword.objects.filter(user=user).exists():
        request.session[HAS_ONE_TIME_PASSWORD] = True


@transaction.atomic
def change_password(
    request: HttpRequest, *, user: User, current: str, password: str, revokes_tokens: bool
) -> None:
    """Set a user's password, keep this session and end all their others, and maybe their tokens."""
    errors = password_errors(password, user)
    if not user.check_password(current):
        errors.insert(0, FieldError("current", "This is not your current password."))
    elif current == password:
        errors.insert(0, FieldError("password", "This is your current password; choose another."))
    if errors:
        raise Invalid.of(*errors)
    user.set_password(password)
    user.save(update_fields=["password"])
    if revokes_tokens:
        ApiToken.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())
    OneTimePassword.objects.filter(user=user).delete()
    request.session.pop(HAS_ONE_TIME_PASSWORD, None)
    update_session_auth_hash(request, user)
    note_revocation()


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


def _network(address: str) -> str:
    """Return an IPv4 address as it is, and the network of an IPv6 address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return address
    return str(ip_network((ip, NETWORK_OF_IPV6), strict=False))


def _blocked_until(key: str, limit: int) -> datetime | None:
    """Return the time at which one more attempt is allowed, when there were too many."""
    attempts = LoginFailure.objects.filter(key=key).order_by("-at", "-pk")
    # The attempt being made is the newest; `limit` earlier ones use up the allowance.
    newest = list(attempts.values_list("at", flat=True)[: limit + 1])
    return newest[limit] + WINDOW if len(newest) > limit else None


def _in_words(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{ceil(seconds / 60)} min"
