"""The form of what people say of a run: its name, description and tags."""

from typing import Any

from django import forms

from runs.models import Run
from workspace.platform.forms import UnsuffixedForm
from workspace.tags import tags_in, tags_text


class RunChangeForm(UnsuffixedForm):
    """What people say of a run."""

    name = forms.CharField(required=False, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    tags = forms.CharField(
        required=False,
        help_text="One per line, as name: value.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    @classmethod
    def of(cls, run: Run) -> "RunChangeForm":
        tags = tags_text(run.tags)
        return cls(initial={"name": run.name, "description": run.description, "tags": tags})

    def data_for_change(self, run: Run) -> dict[str, Any]:
        """Return what `RunChange` reads; a tag that is no longer in the form is removed."""
        tags = tags_in(self.cleaned_data["tags"])
        return {**self.cleaned_data, "tags": {**dict.fromkeys(run.tags), **tags}}
