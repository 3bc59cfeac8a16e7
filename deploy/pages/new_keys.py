"""Carry new keys to the next page, and no further.

Keys are stored hashed, so between the request that makes them and the page that shows them they
travel in a cookie of the caller's own, which that page takes away.
"""

import json

from django.core import signing
from django.http import HttpResponse

from deploy.models import Service
from workspace.platform.requests import SignedInRequest

COOKIE = "trainyard_new_keys"
LASTS_SECONDS = 60


def set_new_keys_cookie(
    request: SignedInRequest, response: HttpResponse, service: Service, keys: dict[str, str]
) -> None:
    """Have the service's page show these keys once."""
    response.set_cookie(
        COOKIE,
        signing.dumps({"service": service.pk, "keys": keys}, salt=COOKIE),
        max_age=LASTS_SECONDS,
        path=_path_of(service),
        httponly=True,
        samesite="Strict",
        secure=request.is_secure(),
    )


def read_new_keys(request: SignedInRequest, service: Service) -> dict[str, str]:
    """Return the keys that were handed over for this service, if any."""
    try:
        held = signing.loads(request.COOKIES.get(COOKIE, ""), salt=COOKIE, max_age=LASTS_SECONDS)
    except (signing.BadSignature, json.JSONDecodeError):
        return {}
    return dict(held["keys"]) if held["service"] == service.pk else {}


def delete_new_keys_cookie(response: HttpResponse, service: Service) -> None:
    response.delete_cookie(COOKIE, path=_path_of(service), samesite="Strict")


def _path_of(service: Service) -> str:
    return f"/t/{service.team.slug}/services/{service.name}/"
