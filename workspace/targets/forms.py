"""The forms of compute targets, made of the fields of their settings; sizes are in GB."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from django import forms
from pydantic.fields import FieldInfo

from workspace.models import ComputeTarget
from workspace.platform.errors import DomainError, FieldError, Invalid
from workspace.platform.forms import UnsuffixedForm, add_domain_errors
from workspace.platform.validation import StrictModel, validate
from workspace.sizes import GIGABYTE
from workspace.targets.settings import (
    PEM_TEXTS,
    SECRETS,
    GrantSettings,
    NewTarget,
    TargetSettings,
    column_of,
    settings_of,
)

SET_ELSEWHERE = {"is_paused", "is_draining", "kind"}
PLAIN = {"autocomplete": "off", "spellcheck": "false"}


class ModelForm(UnsuffixedForm):
    """A form of the fields of a pydantic model, which alone knows what they may hold."""

    def __init__(self, *args: Any, model: type[StrictModel], names: list[str], **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name in names:
            self.fields[form_name(name)] = form_field(name, model.model_fields[name])

    def show_errors(self, error: DomainError) -> None:
        """Show what was refused beside the fields it names."""
        errors = [FieldError(form_name(one.field), one.message) for one in error.errors]
        add_domain_errors(self, Invalid(error.message, errors=errors))


class TargetForm(ModelForm):
    """What can be set on a target of one kind."""

    model: type[TargetSettings] = TargetSettings

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        known = settings_of(kind) | self.model.model_fields.keys() - TargetSettings.model_fields
        names = [name for name in self.model.model_fields if name in known - SET_ELSEWHERE]
        super().__init__(*args, model=self.model, names=names, **kwargs)

    @staticmethod
    def initial_of(target: ComputeTarget) -> dict[str, Any]:
        shown = {
            form_name(name): to_form(name, getattr(target, column_of(name)))
            for name in TargetSettings.model_fields
            if name not in SECRETS and name != "without_tls"
        }
        has_tls = bool(target.tls_ca or target.tls_cert)
        return {**shown, "without_tls": target.address.startswith("tcp://") and not has_tls}

    def given(self) -> dict[str, Any]:
        """Return what was changed on the form; a secret that was left empty stays as it is."""
        changed = {
            name: from_form(name, self.cleaned_data[form_name(name)], self.model.model_fields[name])
            for name in self.model.model_fields
            if form_name(name) in self.changed_data
        }
        for name in SECRETS:
            if not changed.get(name):
                changed.pop(name, None)
        if "address" in changed and "without_tls" in self.fields:
            changed["without_tls"] = self.cleaned_data["without_tls"]
        if changed.get("without_tls"):
            # They are removed, so those that the form was filled with are not meant.
            changed = {n: v for n, v in changed.items() if n not in {"tls_ca", "tls_cert"}}
        return changed

    def settings(self) -> TargetSettings:
        """Return the settings that were changed. Raises Invalid."""
        return validate(TargetSettings, self.given())


class NewTargetForm(TargetForm):
    """The settings of a target to create."""

    model = NewTarget

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, kind=kind, **kwargs)
        self.kind = kind

    def target(self) -> NewTarget:
        """Return the target to create. Raises Invalid."""
        return validate(NewTarget, {"kind": self.kind, **self.given()})


class GrantForm(ModelForm):
    """How much of a target one team may use."""

    team = forms.SlugField(max_length=32, help_text="Its short name.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args, model=GrantSettings, names=list(GrantSettings.model_fields), **kwargs
        )

    def limits(self) -> GrantSettings:
        """Return the limits. Raises Invalid."""
        fields = GrantSettings.model_fields
        return validate(GrantSettings, {name: self.cleaned_data[name] for name in fields})


def form_name(setting: str) -> str:
    """Return the form's name of a setting: sizes in bytes are asked for in GB."""
    return setting.removesuffix("bytes") + "gb" if setting.endswith("_bytes") else setting


def to_form(name: str, value: Any) -> Any:
    """Return a setting as its field of the form shows it."""
    if isinstance(value, list):
        return "\n".join(value)
    if name.endswith("_bytes"):
        return value / GIGABYTE if value else None
    return value


def from_form(name: str, value: Any, info: FieldInfo) -> Any:
    """Return what was filled in as the model takes it; an empty field is its default."""
    if value is None:
        return info.get_default()
    if _plain_type(info.annotation) == list[str]:
        return [line.strip() for line in value.splitlines() if line.strip()]
    return int(value * GIGABYTE) if name.endswith("_bytes") else value


def form_field(name: str, info: FieldInfo) -> forms.Field:
    """Return the form's field for a field of a model. It reads text; the model checks the value."""
    kind = _plain_type(info.annotation)
    default = None if info.is_required() else info.get_default()
    shared: dict[str, Any] = {
        "label": (info.title or name).replace("(bytes)", "(GB)"),
        "help_text": info.description or "",
        "initial": default or None,
        "required": info.is_required() or bool(default),
    }
    if kind is bool:
        return forms.BooleanField(**shared | {"required": False})
    if kind is float or name.endswith("_bytes"):
        return forms.FloatField(**shared, widget=forms.NumberInput(attrs={"step": "any"}))
    if kind is int:
        return forms.IntegerField(**shared)
    if kind == list[str]:
        help_text = f"{info.description} One per line."
        return forms.CharField(**shared | {"help_text": help_text}, widget=_lines(3))
    if get_origin(kind) is Literal:
        return forms.ChoiceField(**shared, choices=[(one, one) for one in get_args(kind)])
    if name in PEM_TEXTS:
        return forms.CharField(**shared, widget=_lines(4, **{"class": "mono"}))
    if name in SECRETS:
        widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
        return forms.CharField(**shared, strip=False, widget=widget)
    example = {"placeholder": info.examples[0]} if info.examples else {}
    return forms.CharField(**shared, widget=forms.TextInput(attrs={**PLAIN, **example}))


def _lines(rows: int, **attributes: str) -> forms.Textarea:
    return forms.Textarea(attrs={**PLAIN, "rows": str(rows), **attributes})


def _plain_type(annotation: Any) -> Any:
    """Return a field's type without its bounds, and without None."""
    if get_origin(annotation) in (Union, UnionType):
        return _plain_type(next(one for one in get_args(annotation) if one is not NoneType))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
