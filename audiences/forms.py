"""Forms about an audience that exists."""

from django import forms

from access.forms import Styled


class AudienceSettings(Styled):
    """Its key is not among them: it never changes, since tools know the audience by it."""

    name = forms.CharField(max_length=255)
    description = forms.CharField(required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 3}))
    enabled = forms.BooleanField(
        required=False,
        help_text="Switched off, it is not computed and nobody is sent. Whoever is in a tool stays there.",
    )
