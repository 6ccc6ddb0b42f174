"""The pages about privacy, of the workspace and of a space."""

from django.urls import path

from privacy.pages.views import regulations

WORKSPACE = "w/<slug:workspace>"
SPACE = f"{WORKSPACE}/s/<slug:space>"

urlpatterns = [
    path(f"{WORKSPACE}/privacy", regulations.workspace_regulations, name="privacy"),
    path(f"{WORKSPACE}/privacy/new", regulations.workspace_regulation_new, name="regulation-new"),
    path(f"{WORKSPACE}/privacy/<str:regulation>", regulations.workspace_regulation, name="regulation"),
    path(f"{SPACE}/privacy", regulations.space_regulations, name="space-privacy"),
    path(f"{SPACE}/privacy/new", regulations.space_regulation_new, name="space-regulation-new"),
    path(f"{SPACE}/privacy/<str:regulation>", regulations.space_regulation, name="space-regulation"),
    path(f"{SPACE}/profiles/<str:profile>/export", regulations.export, name="profile-export"),
]
