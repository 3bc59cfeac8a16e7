"""Files whose names say that they hold secrets, which seldom belong into a snapshot."""

import re
from collections.abc import Iterable

SECRET_NAME_PATTERNS = (
    (re.compile(r"(.*/)?\.env(\.(?!example$|sample$|template$|dist$)[^/]*)?"), "environment file"),
    (re.compile(r"(.*/)?[^/]+\.(pem|key|p12|pfx|jks|keystore|ppk|kdbx)"), "key or certificate"),
    (re.compile(r"(.*/)?id_(rsa|dsa|ecdsa|ed25519)([-_.](?!pub$)[^/]*)?"), "SSH private key"),
    (re.compile(r"(.*/)?\.(aws|ssh|azure|gnupg|kube|docker)/.*"), "credentials folder"),
    (re.compile(r"(.*/)?gcloud/(.*/)?[^/]*credentials[^/]*"), "cloud credentials"),
    (
        re.compile(r"(.*/)?(credentials|client_secrets?|service[-_]account[^/]*)\.json"),
        "credentials",
    ),
    (re.compile(r"(.*/)?(secrets?|credentials)\.(ya?ml|toml|ini|cfg|txt)"), "credentials"),
    (
        re.compile(r"(.*/)?\.?(netrc|_netrc|pgpass|htpasswd|pypirc|npmrc|git-credentials)"),
        "password",
    ),
    (re.compile(r"(.*/)?kaggle\.json"), "API key"),
    (re.compile(r"(.*/)?terraform\.tfstate(\.backup)?"), "state with secrets"),
)


def secret_files(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Return the files that seem to hold a secret by their names, each with what secret."""
    found = ((path, _secret_reason(path)) for path in paths)
    return [(path, why) for path, why in found if why]


def _secret_reason(path: str) -> str:
    lowered = path.lower()
    return next((what for look, what in SECRET_NAME_PATTERNS if look.fullmatch(lowered)), "")
