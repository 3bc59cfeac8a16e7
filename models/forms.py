"""The forms of the registry: registering a model, and changing what is said of a version."""

from typing import Any

from django import forms

from models.models import ModelVersion, Stage
from models.registration import ALIAS_LENGTH, DESCRIPTION_LENGTH
from models.selectors import Offer
from runs.models import Run
from workspace.environments import CURATED
from workspace.forms import Form


class RegisterForm(Form):
    """What a version is registered as; the same rules as over REST are applied afterwards."""

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
        help_text="Needed only where an archive holds several models.",
    )
    name = forms.CharField(
        label="Model name",
        max_length=255,
        help_text="A name that exists gets its next version, any other makes a new model.",
        widget=forms.TextInput(attrs={"list": "known-models", "autocomplete": "off"}),
    )
    cpu = forms.FloatField(label="CPU cores", required=False)
    memory_in_gb = forms.FloatField(label="Memory (GB)", required=False)
    gpu = forms.IntegerField(label="GPUs", required=False)
    tags = forms.CharField(
        required=False,
        help_text="One on each line, as name: value.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    description = forms.CharField(
        required=False, max_length=DESCRIPTION_LENGTH, widget=forms.Textarea(attrs={"rows": 3})
    )
    allow_code = forms.BooleanField(
        label="Allow Python code in a Keras file",
        required=False,
        help_text="Lambda layers hold Python functions, which run when the file is converted. Allow"
        " them only for files of people you trust.",
    )

    def __init__(self, *args: Any, run: Run | None, offers: list[Offer], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        usual = "As the run" if run else "As the model says"
        self.fields["framework_version"] = forms.ChoiceField(
            label="TensorFlow version",
            required=False,
            choices=[("", usual), *((version, version) for version in CURATED)],
            help_text="Which environment serves it.",
        )
        if run is None:
            return
        del self.fields["archive"]
        self.fields["path"] = forms.ChoiceField(
            label="SavedModel in the outputs",
            choices=[(offer.path, offer.path) for offer in offers],
        )

    def data_for_registration(self) -> dict[str, Any]:
        """Give what the REST API would be sent."""
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
            "tags": _tags(cleaned["tags"]),
            "description": cleaned["description"],
        }


class ChangeForm(Form):
    """What is said of a version."""

    stage = forms.ChoiceField(choices=Stage.choices)
    archive_others = forms.BooleanField(
        label="Archive the versions that have this stage now", required=False
    )
    description = forms.CharField(
        required=False, max_length=DESCRIPTION_LENGTH, widget=forms.Textarea(attrs={"rows": 3})
    )
    tags = forms.CharField(
        required=False,
        help_text="One on each line, as name: value.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    @staticmethod
    def initial_of(version: ModelVersion) -> dict[str, Any]:
        tags = "\n".join(f"{name}: {value}" for name, value in version.tags.items())
        return {"stage": version.stage, "description": version.description, "tags": tags}

    def data_for_change(self, version: ModelVersion) -> dict[str, Any]:
        """Give what the REST API would be sent; a tag that is no more in the form goes away."""
        tags = _tags(self.cleaned_data["tags"])
        return {**self.cleaned_data, "tags": {**dict.fromkeys(version.tags), **tags}}


class AliasForm(Form):
    alias = forms.CharField(
        label="New alias",
        max_length=ALIAS_LENGTH,
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "champion"}),
    )


def _tags(text: str) -> dict[str, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [line.partition(":") for line in lines]
    return {name.strip(): value.strip() for name, _, value in pairs}


def field_of(name: str) -> str:
    """Give the form's field for a field of the REST API."""
    return name.removeprefix("resource_configuration.").partition(".")[0]
