"""The forms of services: a new one with options, and the settings of one that is there."""

from typing import Any

from django import forms

from deploy.configuration import Resources
from deploy.models import NAME_RULE, Revision
from deploy.terms import MOST_REPLICAS
from models.models import ModelVersion
from workspace.forms import Form
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

    field_order = ("model", "replicas", "cpu", "memory_gb", "gpu")

    def __init__(self, *args: Any, versions: list[ModelVersion], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["model"] = _versions_field(versions)

    @staticmethod
    def initial_of(revision: Revision) -> dict[str, Any]:
        return {
            "model": str(revision.model_version),
            "replicas": revision.replica_count,
            **Resources(**revision.resources).to_json(),
        }


def _versions_field(versions: list[ModelVersion]) -> forms.ChoiceField:
    names = [str(version) for version in versions]
    return forms.ChoiceField(label="Model version", choices=[(name, name) for name in names])
