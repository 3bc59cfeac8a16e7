"""The forms of services: a new one with options, and the settings of one that is there."""

from typing import Any

from django import forms

from deploy.configuration import Resources
from deploy.models import NAME_RULE, Revision
from deploy.terms import MOST_REPLICAS
from models.models import ModelVersion
from workspace.errors import DomainError, FieldError, Invalid
from workspace.forms import Form, add_errors
from workspace.models import ComputeTarget


class _ResourcesForm(Form):
    cpu = forms.FloatField(label="CPU cores", required=False, help_text="Empty: no limit.")
    memory_gb = forms.FloatField(label="Memory (GB)", required=False, help_text="Empty: no limit.")
    gpu = forms.IntegerField(label="GPUs", required=False, help_text="Empty: none.")
    replicas = forms.IntegerField(min_value=1, max_value=MOST_REPLICAS, initial=1)

    def resources_as_sent(self) -> dict[str, Any]:
        """Give the resources as the REST API would be sent them."""
        return {name: self.cleaned_data[name] for name in ("cpu", "memory_gb", "gpu")}


class NewServiceForm(_ResourcesForm):
    """A model version deployed with options."""

    name = forms.CharField(max_length=32, help_text=f"{NAME_RULE[0].upper()}{NAME_RULE[1:]}.")
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


class SettingsForm(_ResourcesForm):
    """What a service serves and with how much."""

    model = forms.ChoiceField(label="Model version")
    beside = forms.ChoiceField(
        label="A new revision",
        choices=[
            ("", "takes all requests once it is proven"),
            ("weight", "takes a share of the requests"),
            ("shadow", "is a shadow: it gets copies, and answers nobody"),
        ],
        required=False,
    )
    weight = forms.IntegerField(
        label="Its share (%)", required=False, help_text="The others share the rest."
    )

    field_order = ("model", "replicas", "cpu", "memory_gb", "gpu", "beside", "weight")

    def __init__(
        self, *args: Any, versions: list[ModelVersion], is_scaled: bool, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"] = _versions_field(versions)
        if is_scaled:
            self.fields["replicas"].disabled = True
            self.fields["replicas"].help_text = "It follows the requests; see Replicas by load."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("beside") == "weight" and cleaned.get("weight") is None:
            self.add_error("weight", "Say which percentage of the requests it takes.")
        return cleaned

    def body(self) -> dict[str, Any]:
        """Give the body of the REST API that asks for what was filled in."""
        cleaned = self.cleaned_data
        body = {"model": cleaned["model"], "resources": self.resources_as_sent()}
        if not self.fields["replicas"].disabled:
            body["replicas"] = cleaned["replicas"]
        if cleaned["beside"] == "weight":
            body["weight"] = cleaned["weight"]
        elif cleaned["beside"] == "shadow":
            body["shadow"] = True
        return body

    @staticmethod
    def initial_of(revision: Revision) -> dict[str, Any]:
        return {
            "model": str(revision.model_version),
            "replicas": revision.replica_count,
            **Resources(**revision.resources).to_json(),
        }


def add_resource_errors(form: Form, error: DomainError) -> None:
    """Show what a service refused, without the word that the API puts before resources."""
    errors = [
        FieldError(entry.field.removeprefix("resources."), entry.message) for entry in error.errors
    ]
    add_errors(form, Invalid(error.message, errors=errors))


def _versions_field(versions: list[ModelVersion]) -> forms.ChoiceField:
    names = [str(version) for version in versions]
    return forms.ChoiceField(label="Model version", choices=[(name, name) for name in names])
