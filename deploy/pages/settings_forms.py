"""The sections of a service's settings: each a form that makes a body of the REST API."""

import json
from typing import Any, ClassVar

from django import forms

from deploy.contract.signatures import signatures_of
from deploy.models import AccessPolicy, Service
from deploy.selectors import current_revision
from deploy.service_options import BY_KEY, AutoscaleOptions, RollbackRule
from workspace.platform.forms import UnsuffixedForm
from workspace.platform.json_body import load_json

PERCENT = 100


class PercentField(forms.FloatField):
    """A fraction of 1, shown and entered in percent."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=PERCENT, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return round(PERCENT * value, 6) if isinstance(value, int | float) else value

    def clean(self, value: Any) -> float | None:
        percent = super().clean(value)
        return None if percent is None else percent / PERCENT


class SettingsSection(UnsuffixedForm):
    """One section; with `changes_access` its body goes to the access policy."""

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str] = ""
    changes_access: ClassVar[bool] = False
    columns: ClassVar[int] = 3

    def __init__(self, *args: Any, service: Service, **kwargs: Any) -> None:
        super().__init__(*args, auto_id=f"id_{self.name}_%s", **kwargs)
        self.service = service

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        raise NotImplementedError

    def body(self) -> dict[str, Any]:
        """Return the body that the REST API takes for what was filled in."""
        raise NotImplementedError


class AccessPolicySection(SettingsSection):
    name = "access"
    title = "Access policy"
    changes_access = True
    columns = 1

    access_policy = forms.ChoiceField(
        label="Who may call this service",
        choices=[
            (AccessPolicy.KEYS, "Service keys and members' API tokens"),
            (AccessPolicy.TOKENS, "Members' API tokens only; service keys are rejected"),
            (AccessPolicy.TEAM, "Service keys, members' API tokens and logged-in members"),
            (AccessPolicy.PUBLIC, "Everyone who can reach the address, without a key"),
        ],
        widget=forms.RadioSelect,
    )

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        return {"access_policy": service.access_policy}

    def body(self) -> dict[str, Any]:
        return {"access_policy": self.cleaned_data["access_policy"]}


class AutoscalingSection(SettingsSection):
    name = "autoscale"
    title = "Autoscaling"
    about = (
        "The number of replicas follows the requests in flight: it rises at once and falls after"
        " the scale-down delay. When off, the number of replicas above applies."
    )

    enabled = forms.BooleanField(label="Scale by requests in flight", required=False)
    min_replicas = forms.IntegerField(label="Minimum replicas")
    max_replicas = forms.IntegerField(label="Maximum replicas")
    target_utilization = forms.IntegerField(
        label="Target utilization (%)", help_text="Of the concurrent requests per replica."
    )
    requests_per_replica = forms.IntegerField(
        label="Concurrent requests per replica", help_text="How many one replica can take."
    )
    cool_down_seconds = forms.IntegerField(label="Scale-down delay (s)")
    idle_seconds = forms.IntegerField(
        label="Scale to zero after (s)",
        required=False,
        help_text="Time without requests. The next request then waits for a replica to start."
        " Empty: never.",
    )

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        stored = service.autoscale
        return {**AutoscaleOptions(**stored).model_dump(), "enabled": bool(stored)}

    def body(self) -> dict[str, Any]:
        wanted = {name: value for name, value in self.cleaned_data.items() if name != "enabled"}
        return {"autoscale": wanted if self.cleaned_data["enabled"] else None}


class AutoRollbackSection(SettingsSection):
    name = "rollback"
    title = "Automatic rollback"
    about = (
        "Rolls back a new revision that exceeds these limits over one minute. Leave both limits"
        " empty to turn it off."
    )

    error_rate = PercentField(label="Maximum error rate (%)", required=False)
    p95_ms = forms.FloatField(label="Maximum 95th percentile latency (ms)", required=False)
    min_requests = forms.IntegerField(
        label="Minimum requests", initial=RollbackRule.model_fields["min_requests"].default
    )

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        return dict(service.rollback)

    def body(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        is_off = cleaned["error_rate"] is None and cleaned["p95_ms"] is None
        return {"rollback": None if is_off else cleaned}


class SessionAffinitySection(SettingsSection):
    name = "session-affinity"
    title = "Session affinity"
    about = "When revisions share the traffic, sends each caller to the same revision every time."

    kind = forms.ChoiceField(
        label="Identify callers by",
        choices=[("", "Off (random)"), (BY_KEY, "Service key"), ("header", "Header")],
        required=False,
    )
    sticky_by = forms.CharField(label="Header", required=False, help_text="Such as x-user-id.")
    columns = 2

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        by = service.sticky_by
        is_header = by not in ("", BY_KEY)
        return {"kind": "header" if is_header else by, "sticky_by": by if is_header else ""}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("kind") == "header" and not cleaned.get("sticky_by"):
            self.add_error("sticky_by", "Enter the name of the header.")
        return cleaned

    def body(self) -> dict[str, Any]:
        kind = self.cleaned_data["kind"]
        return {"sticky_by": self.cleaned_data["sticky_by"] if kind == "header" else kind or None}


class WebPagesSection(SettingsSection):
    name = "web-pages"
    title = "Web pages that may call"
    about = (
        "Browsers let a web page call this service only if the page's origin is listed here (CORS)."
        " Calls still need a key or token unless the service is open to everyone, and whoever opens"
        " a page can read a key in it. Cookies are never accepted from other origins."
    )
    columns = 1

    allowed_origins = forms.CharField(
        label="Allowed origins",
        required=False,
        help_text="One per line, as scheme://host or scheme://host:port without a path, such as"
        " https://app.example.com. Empty: none.",
        widget=forms.Textarea(attrs={"class": "mono", "rows": 3, "spellcheck": "false"}),
    )

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        return {"allowed_origins": "\n".join(service.allowed_origins)}

    def body(self) -> dict[str, Any]:
        lines = [line.strip() for line in self.cleaned_data["allowed_origins"].splitlines()]
        return {"allowed_origins": [line for line in lines if line]}


class SmokeTestSection(SettingsSection):
    name = "smoke-test"
    title = "Smoke test"
    about = (
        "Each replica must pass it before it receives traffic. Leave it empty to use a request made"
        " from the signature."
    )
    columns = 1

    smoke_test_request = forms.CharField(
        label="Request as JSON",
        required=False,
        widget=forms.Textarea(attrs={"class": "mono", "rows": 5, "spellcheck": "false"}),
    )

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        smoke_test = service.smoke_test_request
        return {
            "smoke_test_request": "" if smoke_test is None else json.dumps(smoke_test, indent=2)
        }

    def clean_smoke_test_request(self) -> Any:
        text = self.cleaned_data["smoke_test_request"].strip()
        try:
            return load_json(text) if text else None
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"Not valid JSON: {error}.") from None

    def body(self) -> dict[str, Any]:
        return {"smoke_test_request": self.cleaned_data["smoke_test_request"]}


class RequestLogSection(SettingsSection):
    name = "request-log"
    title = "Request log"
    about = (
        "Stores a sample of the requests and responses, up to 64 KiB of each and the newest 10,000."
        " Members can read them."
    )
    changes_access = True
    columns = 2

    sample = PercentField(label="Sampling rate (%)", help_text="0: off.")
    redact = forms.MultipleChoiceField(
        label="Redacted inputs",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Values without a name may belong to any input, so they are redacted too.",
    )

    def __init__(self, *args: Any, service: Service, **kwargs: Any) -> None:
        super().__init__(*args, service=service, **kwargs)
        names = {
            tensor.name
            for signature in signatures_of(current_revision(service).model_version)
            for tensor in signature.inputs
        }
        names |= set(service.request_log.get("redact", []))
        self.fields["redact"].choices = [(name, name) for name in sorted(names)]  # type: ignore[attr-defined]

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        return {"sample": 0, **service.request_log}

    def body(self) -> dict[str, Any]:
        return {"request_log": self.cleaned_data}


SETTINGS_SECTIONS: tuple[type[SettingsSection], ...] = (
    AccessPolicySection,
    WebPagesSection,
    RequestLogSection,
    SmokeTestSection,
    AutoscalingSection,
    AutoRollbackSection,
    SessionAffinitySection,
)


def settings_sections(
    service: Service, bound: SettingsSection | None = None
) -> list[SettingsSection]:
    """Return the sections with the current settings, but for one that was sent."""
    return [
        bound
        if bound is not None and isinstance(bound, kind)
        else kind(service=service, initial=kind.initial_of(service))
        for kind in SETTINGS_SECTIONS
    ]
