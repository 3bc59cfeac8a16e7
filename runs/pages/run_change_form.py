"""The form of what people say of a run: its name, description and tags."""

from typing import Any

from django import forms

from runs.models import Run
from workspace.platform.forms import UnsuffixedForm, tags_field
from workspace.tags import tag_changes_in, tags_text


class RunChangeForm(UnsuffixedForm):
    """What people say of a run."""

    name = forms.CharField(required=False, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    tags = tags_field()

    @classmethod
    def of(cls, run: Run) -> "RunChangeForm":
        tags = tags_text(run.tags)
        return cls(initial={"name": run.name, "description": run.description, "tags": tags})

    def data_for_change(self, run: Run) -> dict[str, Any]:
        """Return what `RunChange` reads; a tag that is no longer in the form is removed."""
        return {
            **self.cleaned_data,
            "tags": tag_changes_in(self.cleaned_data["tags"], run.tags),
        }
