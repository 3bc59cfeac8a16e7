"""The settings of a compute target: one model for the REST API, the pages' forms and the rules."""

import posixpath
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from workspace.compute.registry import KINDS, kind_info
from workspace.models import slug_validator
from workspace.platform.validation import Regex, StrictModel
from workspace.targets.addresses import InvalidEngineAddress, parse_engine_address

LARGEST_COUNT = 2**31 - 1
LARGEST_SIZE = 2**63 - 1
MIN_TIMEOUT_SECONDS = 10
SLUG = re.compile(slug_validator.regex)
SLUG_HINT = "1 to 32 lowercase letters, digits and hyphens, with a letter or digit at both ends"
IMAGE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:@]{0,299}")
REGISTRY = re.compile(r"[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9][-a-z0-9._/]*)?")

NO_LIMIT = "Default: no limit."
RESERVED = "Left free on each node for other programs."
PEM_TEXTS = ("tls_ca", "tls_cert", "tls_key")
SECRETS = ("tls_key", "registry_password")
COLUMNS = {
    "tls_key": "encrypted_tls_key",
    "registry_password": "encrypted_registry_password",
    "allowed_nodes": "nodes",
}


def column_of(setting: str) -> str:
    """Return the column of ComputeTarget that holds a setting."""
    return COLUMNS.get(setting, setting)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("Remove the NUL character.")
    return text


def _address(text: str) -> str:
    try:
        return str(parse_engine_address(text)) if text else ""
    except InvalidEngineAddress as error:
        raise ValueError(str(error)) from None


def _image(text: str) -> str:
    if text and not IMAGE.fullmatch(text):
        raise ValueError("Use the name of an image, such as python:3.11-slim.")
    return text


def _registry(text: str) -> str:
    if text and not REGISTRY.fullmatch(text):
        raise ValueError("Use host and port without http://, such as registry.lan:5000.")
    return text


def _origin(text: str) -> str:
    if text and not _is_origin(text):
        raise ValueError("Use scheme, host and port alone, such as http://trainyard.lan:8000.")
    return text.rstrip("/")


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and has_port
        and not (parts.username or parts.path.strip("/") or parts.query or parts.fragment)
        and not any(letter.isspace() for letter in text)
    )


def _folder(path: str) -> str:
    if path and (not path.startswith("/") or posixpath.normpath(path) != path):
        raise ValueError("Use an absolute path without . or .. in it, such as /mnt/shared.")
    return path


def _pem(text: str) -> str:
    """Return a pasted text with its lines ended as files end them."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _names(names: list[str]) -> list[str]:
    if not all(_without_nul(name).strip() for name in names):
        raise ValueError("A name is empty. Leave the list empty to use all nodes.")
    return list(dict.fromkeys(name.strip() for name in names))


def _kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"Use one of: {', '.join(KINDS)}.")
    return name


KindName = Annotated[str, AfterValidator(_kind), Field(json_schema_extra={"enum": [*KINDS]})]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Size = Annotated[int, Field(ge=0, le=LARGEST_SIZE)]
Amount = Annotated[float, Field(ge=0)]
Priority = Annotated[int, Field(ge=-100, le=100)]
Timeout = Annotated[int, Field(ge=MIN_TIMEOUT_SECONDS, le=LARGEST_COUNT)]
Text = Annotated[str, AfterValidator(_without_nul)]
Pem = Annotated[Text, Field(max_length=100_000), AfterValidator(_pem)]


class ReadableSettings(StrictModel):
    """The settings that are shown again. The titles are the labels of the form."""

    is_paused: bool = Field(default=False, title="Paused", description="Nothing new starts on it.")
    is_draining: bool = Field(
        default=False, title="Draining", description="Running work continues; new work is refused."
    )
    allow_shared: bool = Field(
        default=False,
        title="Allow multiple users",
        description="A local target runs code on the server itself, without a container: anyone"
        " who may submit runs can then read everything that the server can read, including other"
        " users' code and models. Turn it on only among people who trust each other.",
    )
    max_processes: int = Field(
        default=64,
        ge=1,
        le=10_000,
        title="Process limit",
        description="Processes that may run at one time.",
    )
    max_cpus: Amount | None = Field(default=None, gt=0, title="CPU limit", description=NO_LIMIT)
    max_memory_bytes: Size | None = Field(
        default=None, gt=0, title="Memory limit (bytes)", description=NO_LIMIT
    )
    max_gpus: Count | None = Field(default=None, title="GPU limit", description=NO_LIMIT)
    max_gpus_per_run: Count | None = Field(
        default=None, title="GPU limit per run", description=NO_LIMIT
    )
    idle_cpus: Amount = Field(default=0.0, title="System-reserved CPUs", description=RESERVED)
    idle_memory_bytes: Size = Field(
        default=0, title="System-reserved memory (bytes)", description=RESERVED
    )
    default_priority: Priority = Field(
        default=0, title="Default priority", description="The priority of runs that set none."
    )
    max_priority: Priority = Field(
        default=100,
        title="Highest priority",
        description="-100 to 100. Runs below 0 may be preempted.",
    )
    hang_timeout_seconds: Timeout = Field(
        default=1800,
        title="No-progress timeout (seconds)",
        description="A run without log output, file writes or CPU use for this long is marked"
        " as making no progress.",
    )
    fail_hung_runs: bool = Field(
        default=False,
        title="Fail runs without progress",
        description="Otherwise they are only marked.",
    )

    address: Annotated[Text, AfterValidator(_address)] = Field(
        default="",
        max_length=300,
        title="Address",
        description="unix:///var/run/docker.sock, tcp://HOST:2376 or ssh://USER@HOST.",
        examples=["tcp://gpu-1.lan:2376"],
    )
    tls_ca: Pem = Field(
        default="",
        title="Certificate authority",
        description="PEM of ca.pem, which signed the engine's certificate.",
    )
    tls_cert: Pem = Field(default="", title="Client certificate", description="PEM of cert.pem.")
    registry: Annotated[Text, AfterValidator(_registry)] = Field(
        default="",
        max_length=200,
        title="Registry",
        description="Where images are pushed to and nodes pull them from. Required with several"
        " nodes.",
        examples=["registry.lan:5000"],
    )
    registry_user: Text = Field(
        default="", max_length=200, title="Registry user", description="Default: no login."
    )
    base_image: Annotated[Text, AfterValidator(_image)] = Field(
        default="",
        max_length=300,
        title="Base image",
        description="Default: Docker Hub's python, slim.",
    )
    gpu_base_image: Annotated[Text, AfterValidator(_image)] = Field(
        default="",
        max_length=300,
        title="Base image for GPUs",
        description="Default: the base image.",
    )
    web_url: Annotated[Text, AfterValidator(_origin)] = Field(
        default="",
        max_length=200,
        title="Trainyard's URL in containers",
        description="Default: TRAINYARD_URL, or this machine if the engine is on it.",
        examples=["http://10.0.0.5:8000"],
    )
    shared_folder: Annotated[Text, AfterValidator(_folder)] = Field(
        default="",
        max_length=300,
        title="Shared folder",
        description="Path at which every node of a Swarm has the same disk. Checkpoints are stored"
        " there. Default: they are copied through this server.",
        examples=["/mnt/shared"],
    )
    allowed_nodes: Annotated[list[str], AfterValidator(_names)] = Field(
        default=[],
        title="Nodes to use",
        description="Names of nodes of a Swarm. Default: all of them.",
    )
    images_kept_days: int = Field(
        default=30,
        ge=0,
        le=36_500,
        title="Keep unused images (days)",
        description="Images unused for longer are removed.",
    )
    images_max_bytes: Size | None = Field(
        default=None,
        title="Image storage limit (bytes)",
        description=f"{NO_LIMIT} The oldest unused images are removed first.",
    )
    unreachable_timeout_seconds: Timeout = Field(
        default=600,
        title="Unreachable timeout (seconds)",
        description="Runs resume if the target answers before; otherwise they fail.",
    )


class TargetSettings(ReadableSettings):
    """What can be set on a target. A change names some of the fields; the others stay."""

    tls_key: Pem = Field(
        default="",
        title="Private key",
        description="PEM of key.pem. Stored encrypted and never shown again.",
        json_schema_extra={"writeOnly": True},
    )
    registry_password: Text = Field(
        default="",
        max_length=4096,
        title="Registry password",
        description="Stored encrypted and never shown again.",
        json_schema_extra={"writeOnly": True},
    )
    without_tls: bool = Field(
        default=False,
        title="Connect without TLS",
        description="Anyone who can reach the port controls the machine. Use it only on a private"
        " network. Stored certificates are removed.",
        json_schema_extra={"writeOnly": True},
    )


class NewTarget(TargetSettings):
    """A compute target to create."""

    name: Annotated[str, Regex(SLUG, SLUG_HINT)] = Field(
        title="Name",
        description="1 to 32 lowercase letters, digits and hyphens. Runs refer to it.",
    )
    kind: KindName = Field(
        default="local",
        title="Kind",
        description="The kind of compute target.",
    )


class GrantSettings(StrictModel):
    """How much of a target one team may use."""

    max_runs: Count | None = Field(default=None, title="Concurrent runs", description=NO_LIMIT)
    max_gpus: Count | None = Field(default=None, title="Concurrent GPUs", description=NO_LIMIT)
    gpu_hours_a_month: Amount | None = Field(
        default=None, title="GPU-hours per month", description=NO_LIMIT
    )
    min_role: Literal["member", "admin"] = Field(
        default="member", title="Minimum role", description="Of the member who submits."
    )


def settings_of(kind: str) -> frozenset[str]:
    """Return the names of the settings that a kind of target takes."""
    special = frozenset[str]().union(*(info.settings for info in KINDS.values()))
    return frozenset(TargetSettings.model_fields) - special | kind_info(kind).settings
