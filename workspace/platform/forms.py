"""What the forms of every page share."""

from typing import Any

from django import forms

from workspace.platform.errors import DomainError


def add_domain_errors(form: forms.BaseForm, refusal: DomainError) -> None:
    """Show what a service refused beside the fields it names."""
    if not refusal.errors:
        form.add_error(None, refusal.message)
    for error in refusal.errors:
        field = error.field.partition(".")[0]  # of tags.owner, for one
        form.add_error(field if field in form.fields else None, error.message)


def tags_field() -> forms.CharField:
    """Return a field for what `workspace.tags.tags_in` reads."""
    return forms.CharField(
        required=False,
        help_text="One per line, as name: value.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class UnsuffixedForm(forms.Form):
    """A form whose labels stand above their fields, so that they need no colon."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
