"""The parts of a service's settings: each a form that writes a body of the REST API."""

import json
from typing import Any, ClassVar

from django import forms

from deploy.models import Opening, Service
from deploy.selectors import current_revision
from deploy.tensors import signatures_of
from deploy.terms import BY_KEY, Autoscale, RollbackRule
from workspace.errors import DomainError, FieldError, Invalid
from workspace.forms import Form, add_errors

PERCENT = 100


class Part(Form):
    """One part: `of_door` says that door.change_door takes its body, else steering.change."""

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str] = ""
    of_door: ClassVar[bool] = False
    columns: ClassVar[int] = 3

    def __init__(self, *args: Any, service: Service, **kwargs: Any) -> None:
        super().__init__(*args, auto_id=f"id_{self.name}_%s", **kwargs)
        self.service = service

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        raise NotImplementedError

    def body(self) -> dict[str, Any]:
        """Give the body of the REST API that asks for what was filled in."""
        raise NotImplementedError

    def show(self, error: DomainError) -> None:
        """Show what was refused beside the fields it names."""
        errors = [
            FieldError(entry.field.rpartition(".")[2], entry.message) for entry in error.errors
        ]
        add_errors(self, Invalid(error.message, errors=errors))


class OpeningPart(Part):
    name = "opening"
    title = "Who may score"
    of_door = True
    columns = 1

    opening = forms.ChoiceField(
        label="Requests are answered of",
        choices=[
            (Opening.KEYS, "holders of one of its keys, and members with an API token"),
            (Opening.TOKENS, "members with an API token; its keys open nothing"),
            (Opening.TEAM, "members, signed in or with an API token, and holders of a key"),
            (Opening.OPEN, "everybody who reaches this address, without any key"),
        ],
        widget=forms.RadioSelect,
    )

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        return {"opening": service.opening}

    def body(self) -> dict[str, Any]:
        return {"opening": self.cleaned_data["opening"]}


class AutoscalePart(Part):
    name = "autoscale"
    title = "Replicas by load"
    about = (
        "The number of replicas follows the requests in flight: up at once, down after a pause."
        " Off, it is the number above."
    )

    enabled = forms.BooleanField(label="Scale by requests in flight", required=False)
    min_replicas = forms.IntegerField(label="At least")
    max_replicas = forms.IntegerField(label="At most")
    target_utilization = forms.IntegerField(
        label="Target (%)", help_text="Of what each replica can take."
    )
    requests_per_replica = forms.IntegerField(
        label="Requests at once", help_text="What one replica can take."
    )
    cool_down_seconds = forms.IntegerField(label="Pause before fewer (s)")
    idle_seconds = forms.IntegerField(
        label="To none after (s)",
        required=False,
        help_text="Without requests for so long there is no replica, and the next request waits"
        " for one to start. Empty: never.",
    )

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        stored = service.autoscale
        usual = vars(Autoscale())
        return {**usual, **stored, "enabled": bool(stored)}

    def body(self) -> dict[str, Any]:
        wanted = {name: value for name, value in self.cleaned_data.items() if name != "enabled"}
        return {"autoscale": wanted if self.cleaned_data["enabled"] else None}


class RollbackPart(Part):
    name = "rollback"
    title = "Automatic rollback"
    about = (
        "A new revision that does worse than this over a minute is taken back, and the one before"
        " serves again. Leave both limits empty for none."
    )

    error_percent = forms.FloatField(
        label="Errors over (%)", required=False, min_value=0, max_value=PERCENT
    )
    p95_ms = forms.FloatField(label="95th percentile over (ms)", required=False)
    min_requests = forms.IntegerField(label="Once it had requests")

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        rule = {**vars(RollbackRule()), **service.rollback}
        rate = rule.pop("error_rate")
        return {**rule, "error_percent": None if rate is None else round(PERCENT * rate, 6)}

    def body(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        percent, p95_ms = cleaned["error_percent"], cleaned["p95_ms"]
        if percent is None and p95_ms is None:
            return {"rollback": None}
        return {
            "rollback": {
                "error_rate": None if percent is None else percent / PERCENT,
                "p95_ms": p95_ms,
                "min_requests": cleaned["min_requests"],
            }
        }


class StickyPart(Part):
    name = "sticky"
    title = "The same revision for the same caller"
    about = "Where revisions share the requests, callers may be kept at the one they came to first."

    kind = forms.ChoiceField(
        label="Callers are told apart by",
        choices=[
            ("", "nothing: each request by chance"),
            (BY_KEY, "their key"),
            ("header", "a header"),
        ],
        required=False,
    )
    sticky_by = forms.CharField(
        label="Header", required=False, max_length=64, help_text="Such as x-user-id."
    )
    columns = 2

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        by = service.sticky_by
        is_header = by not in ("", BY_KEY)
        return {"kind": "header" if is_header else by, "sticky_by": by if is_header else ""}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("kind") == "header" and not cleaned.get("sticky_by"):
            self.add_error("sticky_by", "Name the header.")
        return cleaned

    def body(self) -> dict[str, Any]:
        kind = self.cleaned_data["kind"]
        return {"sticky_by": self.cleaned_data["sticky_by"] if kind == "header" else kind or None}


class GoldenPart(Part):
    name = "golden"
    title = "Golden request"
    about = (
        "Every replica has to answer it before it is given requests. Left empty, one is made up"
        " from the signature."
    )
    columns = 1

    golden_request = forms.CharField(
        label="Request as JSON",
        required=False,
        widget=forms.Textarea(attrs={"class": "mono", "rows": 5, "spellcheck": "false"}),
    )

    @staticmethod
    def initial_of(service: Service) -> dict[str, Any]:
        golden = service.golden_request
        return {"golden_request": "" if golden is None else json.dumps(golden, indent=2)}

    def clean_golden_request(self) -> Any:
        text = self.cleaned_data["golden_request"].strip()
        try:
            return json.loads(text) if text else None
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from None

    def body(self) -> dict[str, Any]:
        return {"golden_request": self.cleaned_data["golden_request"]}


class RequestLogPart(Part):
    name = "request-log"
    title = "Kept requests"
    about = (
        "A share of the requests and answers is kept, up to 64 KiB of each and the newest 10,000."
        " Members can read them."
    )
    of_door = True
    columns = 2

    percent = forms.FloatField(
        label="Share to keep (%)", min_value=0, max_value=PERCENT, help_text="0: none."
    )
    redact = forms.MultipleChoiceField(
        label="Never keep the values of",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Values without a name may be any input's, so then they are hidden too.",
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
        stored = service.request_log
        return {
            "percent": round(PERCENT * stored.get("sample", 0), 6),
            "redact": stored.get("redact", []),
        }

    def body(self) -> dict[str, Any]:
        sample = self.cleaned_data["percent"] / PERCENT
        return {"request_log": {"sample": sample, "redact": self.cleaned_data["redact"]}}


PARTS: tuple[type[Part], ...] = (
    OpeningPart,
    RequestLogPart,
    GoldenPart,
    AutoscalePart,
    RollbackPart,
    StickyPart,
)


def parts_of(service: Service, bound: Part | None = None) -> list[Part]:
    """Give the parts as they stand, but for one that was sent."""
    return [
        bound
        if bound is not None and isinstance(bound, kind)
        else kind(service=service, initial=kind.initial_of(service))
        for kind in PARTS
    ]
