"""The forms of services: a new one with options, and what an existing one runs."""

from typing import Any

from django import forms

from deploy.config import NewService, ServiceResources
from deploy.models import Revision
from models.models import ModelVersion
from workspace.models import ComputeTarget
from workspace.platform.errors import DomainError, FieldError, Invalid
from workspace.platform.forms import UnsuffixedForm, add_domain_errors


class _ResourcesForm(UnsuffixedForm):
    cpu = forms.FloatField(label="CPUs", required=False, help_text="Empty: no limit.")
    memory_gb = forms.FloatField(label="Memory (GB)", required=False, help_text="Empty: no limit.")
    gpu = forms.IntegerField(label="GPUs", required=False, help_text="Empty: none.")
    replicas = forms.IntegerField(initial=1)

    def resources(self) -> dict[str, Any]:
        """Return the resources as the REST API takes them."""
        return {name: self.cleaned_data[name] for name in ServiceResources.model_fields}


class NewServiceForm(_ResourcesForm):
    """Deploys a model version with options."""

    name = forms.CharField(help_text=NewService.model_fields["name"].description or "")
    model = forms.ChoiceField(label="Model version")
    target = forms.ModelChoiceField(
        ComputeTarget.objects.none(), to_field_name="name", empty_label=None
    )

    field_order = ("name", "model", "target", "replicas", "cpu", "memory_gb", "gpu")

    def __init__(
        self,
        *args: Any,
        versions: list[ModelVersion],
        targets: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"] = _versions_field(versions)
        self.fields["target"].queryset = targets  # type: ignore[attr-defined]

    def body(self) -> dict[str, Any]:
        """Return the body that the REST API takes for what was filled in."""
        cleaned = self.cleaned_data
        return {
            "name": cleaned["name"],
            "model": cleaned["model"],
            "target": cleaned["target"].name,
            "replicas": cleaned["replicas"],
            "resources": self.resources(),
        }


class SettingsForm(_ResourcesForm):
    """Changes what a service serves and its resources."""

    model = forms.ChoiceField(label="Model version")
    rollout = forms.ChoiceField(
        label="A new revision",
        choices=[
            ("", "Rolls out to 100 % after its smoke test"),
            ("weight", "Gets a percentage of the traffic (canary)"),
            ("shadow", "Shadow: receives copies of requests; its responses are discarded"),
        ],
        required=False,
    )
    weight = forms.IntegerField(
        label="Traffic (%)", required=False, help_text="The other revisions keep the rest."
    )

    field_order = ("model", "replicas", "cpu", "memory_gb", "gpu", "rollout", "weight")

    def __init__(
        self, *args: Any, versions: list[ModelVersion], is_scaled: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"] = _versions_field(versions)
        if is_scaled:
            self.fields["replicas"].disabled = True
            self.fields["replicas"].help_text = "Set by autoscaling; see below."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("rollout") == "weight" and cleaned.get("weight") is None:
            self.add_error("weight", "Enter the traffic percentage.")
        return cleaned

    def body(self) -> dict[str, Any]:
        """Return the body that the REST API takes for what was filled in."""
        cleaned = self.cleaned_data
        body = {"model": cleaned["model"], "resources": self.resources()}
        if not self.fields["replicas"].disabled:
            body["replicas"] = cleaned["replicas"]
        if cleaned["rollout"] == "weight":
            body["weight"] = cleaned["weight"]
        elif cleaned["rollout"] == "shadow":
            body["shadow"] = True
        return body

    @staticmethod
    def initial_of(revision: Revision) -> dict[str, Any]:
        return {
            "model": str(revision.model_version),
            "replicas": revision.replica_count,
            **ServiceResources(**revision.resources).to_json(),
        }


def add_field_errors(form: UnsuffixedForm, error: DomainError) -> None:
    """Show what was refused beside the fields, which have the last names of the API's paths.

    Of the items of a list it is the list that is a field.
    """
    errors = [FieldError(_field_of(form, entry.field), entry.message) for entry in error.errors]
    add_domain_errors(form, Invalid(error.message, errors=errors))


def _field_of(form: UnsuffixedForm, path: str) -> str:
    names = path.split(".")
    return next((name for name in reversed(names) if name in form.fields), names[-1])


def _versions_field(versions: list[ModelVersion]) -> forms.ChoiceField:
    names = [str(version) for version in versions]
    return forms.ChoiceField(label="Model version", choices=[(name, name) for name in names])
