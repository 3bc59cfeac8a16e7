"""The forms of compute targets, in the units that people think in."""

from typing import Any, ClassVar

from django import forms

from workspace.forms import Form
from workspace.models import ComputeTarget, Role, TargetKind

GIGABYTE = 10**9
LEFT_IDLE = "On each node, for what else it does."
SECRETS = ("tls_key", "registry_password")


def _text(label: str, help_text: str = "", **attributes: str) -> forms.CharField:
    attributes = {"autocomplete": "off", "spellcheck": "false", **attributes}
    widget = forms.TextInput(attrs=attributes)
    return forms.CharField(
        label=label, help_text=help_text, required=False, max_length=300, widget=widget
    )


def _pem(label: str, help_text: str) -> forms.CharField:
    attributes = {"rows": "4", "class": "mono", "spellcheck": "false", "autocomplete": "off"}
    return forms.CharField(
        label=label,
        help_text=help_text,
        required=False,
        max_length=100_000,
        widget=forms.Textarea(attrs=attributes),
    )


def _count(label: str, help_text: str = "", low: int = 0, high: int = 2**31 - 1) -> forms.Field:
    return forms.IntegerField(
        label=label, help_text=help_text, required=False, min_value=low, max_value=high
    )


def _amount(label: str, help_text: str = "") -> forms.Field:
    widget = forms.NumberInput(attrs={"step": "any"})
    return forms.FloatField(
        label=label, help_text=help_text, required=False, min_value=0, widget=widget
    )


class TargetForm(Form):
    """What may be set on a target of one kind; `changes` gives what the services take."""

    max_processes = forms.IntegerField(
        label="Processes at most", min_value=1, max_value=10_000, initial=64
    )
    max_cpus = _amount("CPUs at most", "Empty: all there are.")
    max_memory_gb = _amount("Memory at most (GB)", "Empty: all there is.")
    max_gpus = _count("GPUs at most", "Empty: all there are.")
    max_gpus_per_run = _count("GPUs of one run at most", "Empty: no limit.")
    idle_cpus = _amount("CPUs left idle", LEFT_IDLE)
    idle_memory_gb = _amount("Memory left idle (GB)", LEFT_IDLE)
    default_priority = forms.IntegerField(label="Usual priority", initial=0)
    max_priority = forms.IntegerField(
        label="Highest priority", initial=100, help_text="-100 to 100. Below 0 may be preempted."
    )
    still_after_seconds = forms.IntegerField(
        label="No progress after (seconds)",
        initial=1800,
        help_text="A run whose logs, metrics and CPU stand still is marked then.",
    )
    ends_still_runs = forms.BooleanField(label="End runs that make no progress", required=False)
    allow_shared = forms.BooleanField(
        label="Allow several users",
        required=False,
        help_text="A local target runs code on the server itself, without a container: whoever may"
        " submit runs can then read everything that the server can read, the other users' code"
        " and models included. Turn it on only among people who trust each other.",
    )

    address = _text(
        "Address",
        "unix:///var/run/docker.sock, tcp://HOST:2376 or ssh://USER@HOST.",
        placeholder="tcp://gpu-1.lan:2376",
    )
    tls_ca = _pem("Certificate authority", "PEM of ca.pem, which signed the engine's certificate.")
    tls_cert = _pem("Client certificate", "PEM of cert.pem.")
    tls_key = _pem("Private key", "PEM of key.pem. Kept encrypted and never shown again.")
    without_tls = forms.BooleanField(
        label="Go without TLS",
        required=False,
        help_text="Whoever reaches the port then owns the engine's machine, and whoever listens on"
        " the way reads everything. Only in a network that is closed to others.",
    )
    registry = _text(
        "Registry",
        "Where images are pushed to and nodes pull them from. Needed with several nodes.",
        placeholder="registry.lan:5000",
    )
    registry_user = _text("Registry's user", "Empty: without a login.")
    registry_password = forms.CharField(
        label="Registry's password",
        required=False,
        strip=False,
        max_length=4096,
        help_text="Kept encrypted and never shown again.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    base_image = _text("Base image", "Empty: Docker Hub's python, slim.")
    gpu_base_image = _text("Base image for GPUs", "Empty: the same as without.")
    web_url = _text(
        "Trainyard's address in containers",
        "Empty: TRAINYARD_URL, or this machine where the engine is here.",
        placeholder="http://10.0.0.5:8000",
    )
    allowed_nodes = forms.CharField(
        label="Nodes to use",
        required=False,
        help_text="Their names, one a line. Empty: all of the Swarm's.",
        widget=forms.Textarea(attrs={"rows": "3", "spellcheck": "false"}),
    )
    images_kept_days = forms.IntegerField(
        label="Keep unused images (days)", min_value=0, max_value=36500, initial=30
    )
    shared_folder = _text(
        "Shared folder",
        "The path at which every node has the same disk. Checkpoints of runs go there. Empty: they"
        " go by way of this server.",
        placeholder="/mnt/shared",
    )
    images_max_gb = _amount("Images at most (GB)", "Empty: no limit. The oldest unused go first.")
    lost_after_seconds = forms.IntegerField(
        label="Give runs up after (seconds)",
        initial=600,
        help_text="When the target does not answer. Until then runs are taken up again.",
    )

    of_containers: ClassVar = (
        "address",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "without_tls",
        "registry",
        "registry_user",
        "registry_password",
        "base_image",
        "gpu_base_image",
        "web_url",
        "shared_folder",
        "allowed_nodes",
        "images_kept_days",
        "images_max_gb",
        "lost_after_seconds",
    )

    def __init__(self, *args: Any, kind: TargetKind, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.of_containers if kind == TargetKind.LOCAL else ("allow_shared",):
            del self.fields[name]
        if kind == TargetKind.DOCKER:
            del self.fields["allowed_nodes"], self.fields["shared_folder"]

    @staticmethod
    def initial_of(target: ComputeTarget) -> dict[str, Any]:
        plain = {
            name: getattr(target, name) for name in TargetForm.base_fields if hasattr(target, name)
        }
        is_plain_tcp = target.address.startswith("tcp://") and not (
            target.tls_ca or target.tls_cert
        )
        return {
            **plain,
            "max_memory_gb": _in_gigabytes(target.max_memory_bytes),
            "idle_cpus": target.idle_cpus or None,
            "idle_memory_gb": _in_gigabytes(target.idle_memory_bytes or None),
            "images_max_gb": _in_gigabytes(target.images_max_bytes),
            "allowed_nodes": "\n".join(target.nodes),
            "without_tls": is_plain_tcp,
        }

    def changes(self) -> dict[str, Any]:
        """Give what was changed on the form; a secret that was left empty stays as it is."""
        changed = {name: self.cleaned_data[name] for name in self.changed_data}
        for name in SECRETS:
            if not changed.get(name):
                changed.pop(name, None)
        for name, column in (
            ("max_memory_gb", "max_memory_bytes"),
            ("idle_memory_gb", "idle_memory_bytes"),
            ("images_max_gb", "images_max_bytes"),
        ):
            if name in changed:
                amount = changed.pop(name)
                changed[column] = None if amount is None else int(amount * GIGABYTE)
        for name in changed.keys() & {"idle_cpus", "idle_memory_bytes"}:
            changed[name] = changed[name] or 0
        if "allowed_nodes" in changed:
            lines = changed.pop("allowed_nodes").splitlines()
            changed["nodes"] = [line.strip() for line in lines if line.strip()]
        if "address" in changed and "without_tls" in self.fields:
            changed["without_tls"] = self.cleaned_data["without_tls"]
        if changed.get("without_tls"):
            # They are taken away, so those that the form was filled with are not meant.
            changed = {n: v for n, v in changed.items() if n not in {"tls_ca", "tls_cert"}}
        return changed


class NewTargetForm(TargetForm):
    name = forms.CharField(
        max_length=32, help_text="Small letters, digits and hyphens. Runs name it."
    )


class GrantForm(Form):
    """How much of a target one team may use."""

    team = forms.SlugField(max_length=32, help_text="Its short name.")
    max_runs = _count("Runs at a time", "Empty: no limit.")
    max_gpus = _count("GPUs at a time", "Empty: no limit.")
    gpu_hours_a_month = _amount("GPU-hours a month", "Empty: no limit.")
    min_role = forms.ChoiceField(
        label="For the role",
        choices=[(Role.MEMBER.value, "member or admin"), (Role.ADMIN.value, "admin")],
        help_text="Of those who submit.",
    )


def _in_gigabytes(size: int | None) -> float | None:
    return None if size is None else size / GIGABYTE
