"""The forms of the registry: registering a model, and changing a version."""

from typing import Any

from django import forms

from models.models import ModelVersion, Stage
from models.registration import Registration
from models.selectors import ModelCandidate
from runs.models import Run
from workspace.compute.environment_spec import CURATED
from workspace.platform.forms import UnsuffixedForm, tags_field
from workspace.tags import tag_changes_in, tags_in, tags_text


class RegisterForm(UnsuffixedForm):
    """What a version is registered as; `Registration` knows what the fields may hold."""

    archive = forms.FileField(
        label="File",
        required=False,
        help_text="A .zip or .tar.gz with a SavedModel in it, or a .keras or .h5 file, which is"
        " converted to a SavedModel.",
        widget=forms.ClearableFileInput(attrs={"accept": ".zip,.tar.gz,.tgz,.tar,.keras,.h5"}),
    )
    path = forms.CharField(
        label="Path in an archive",
        required=False,
        help_text="Needed only if an archive holds several models.",
    )
    name = forms.CharField(
        label="Model name",
        help_text=Registration.model_fields["name"].description or "",
        widget=forms.TextInput(attrs={"list": "known-models", "autocomplete": "off"}),
    )
    cpu = forms.FloatField(label="CPUs", required=False)
    memory_in_gb = forms.FloatField(label="Memory (GB)", required=False)
    gpu = forms.IntegerField(label="GPUs", required=False)
    tags = tags_field()
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    allow_code = forms.BooleanField(
        label="Allow Python code in a Keras file",
        required=False,
        help_text="Lambda layers hold Python functions, which run when the file is converted. Allow"
        " them only for files from people you trust.",
    )

    def __init__(
        self, *args: Any, run: Run | None, offers: list[ModelCandidate], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        usual = "Same as the run" if run else "Detected from the model"
        self.fields["framework_version"] = forms.ChoiceField(
            label="TensorFlow version",
            required=False,
            choices=[("", usual), *((version, version) for version in CURATED)],
            help_text="The environment that serves the model.",
        )
        if run is None:
            return
        del self.fields["archive"]
        self.fields["path"] = forms.ChoiceField(
            label="SavedModel in the outputs",
            choices=[(offer.path, offer.path) for offer in offers],
        )

    def data_for_registration(self) -> dict[str, Any]:
        """Return what `Registration` reads."""
        cleaned = self.cleaned_data
        resources = {
            name: cleaned[name]
            for name in ("cpu", "memory_in_gb", "gpu")
            if cleaned.get(name) is not None
        }
        return {
            "name": cleaned["name"],
            "framework_version": cleaned["framework_version"],
            "resource_configuration": resources,
            "tags": tags_in(cleaned["tags"]),
            "description": cleaned["description"],
        }


class ChangeForm(UnsuffixedForm):
    """What can be changed of a version."""

    stage = forms.ChoiceField(choices=Stage.choices)
    archive_others = forms.BooleanField(
        label="Archive the versions currently in this stage", required=False
    )
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    tags = tags_field()

    @staticmethod
    def initial_of(version: ModelVersion) -> dict[str, Any]:
        tags = tags_text(version.tags)
        return {"stage": version.stage, "description": version.description, "tags": tags}

    def data_for_change(self, version: ModelVersion) -> dict[str, Any]:
        """Return what `VersionChange` reads; a tag that is no longer in the form is removed."""
        return {
            **self.cleaned_data,
            "tags": tag_changes_in(self.cleaned_data["tags"], version.tags),
        }


class AliasForm(UnsuffixedForm):
    alias = forms.CharField(
        label="New alias",
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "champion"}),
    )


def field_of(name: str) -> str:
    """Return the form's field for a field of the REST API."""
    return name.removeprefix("resource_configuration.").partition(".")[0]
