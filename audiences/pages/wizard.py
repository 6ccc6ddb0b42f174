"""The way to a new audience: three pages, and where on it somebody is. The later two belong to a higher app."""

from dataclasses import dataclass

from django.urls import reverse

from access.requests import PageRequest
from audiences.models import Draft

# By the names of their addresses: the higher app that has them is not imported.
BUILD, DESTINATIONS, REVIEW = "audience-draft", "draft-destinations", "draft-review"  # the names of the pages
LABELS = {BUILD: "Build", DESTINATIONS: "Select destinations", REVIEW: "Review and create"}


@dataclass(frozen=True)
class WizardStep:
    """A step as the stepper shows it. done: it lies behind, and can be gone back to."""

    page: str
    number: int
    label: str
    url: str
    here: bool
    done: bool


def steps(request: PageRequest, draft: Draft, here: str) -> list[WizardStep]:
    """All of them, seen from the page `here`."""
    pages = list(LABELS)
    at = pages.index(here)
    return [
        WizardStep(page, number, LABELS[page], url_of(request, draft, page), number == at + 1, number <= at)
        for number, page in enumerate(pages, start=1)
    ]


def url_of(request: PageRequest, draft: Draft, page: str) -> str:
    return reverse(page, args=[request.workspace.slug, request.space.slug, draft.public_id])
