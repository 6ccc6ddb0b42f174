"""The pages that need several engines: of a workspace, of a space, and of an audience with its destinations."""

from django.urls import path

from console.pages.views import audience, audience_draft, computed_trait, home, spaces

WORKSPACE = "w/<slug:workspace>"
SPACE = f"{WORKSPACE}/s/<slug:space>"
AUDIENCE = f"{SPACE}/audiences/<str:audience>"
DRAFT = f"{SPACE}/audiences/drafts/<str:draft>"

urlpatterns = [
    path(f"{WORKSPACE}/", home.workspace, name="workspace"),
    path(f"{WORKSPACE}/search", home.search, name="search"),
    path(f"{WORKSPACE}/sample", home.sample, name="sample"),
    path(f"{WORKSPACE}/deletions", home.deletions, name="deletions"),
    path(f"{WORKSPACE}/spaces", spaces.spaces, name="spaces"),
    path(f"{WORKSPACE}/spaces/new", spaces.space_new, name="space-new"),
    path(f"{SPACE}/", spaces.space, name="space"),
    path(f"{SPACE}/guide", spaces.guide, name="space-guide"),
    path(f"{SPACE}/settings", spaces.space_settings, name="space-settings"),
    path(f"{SPACE}/settings/delete", spaces.space_delete, name="space-delete"),
    # Two of the three steps of a draft; the first is in audiences, which knows no destinations.
    path(f"{DRAFT}/destinations", audience_draft.destinations, name="draft-destinations"),
    path(f"{DRAFT}/review", audience_draft.review, name="draft-review"),
    path(AUDIENCE, audience.audience, name="audience"),
    path(f"{AUDIENCE}/members.csv", audience.members, name="audience-members"),
    path(f"{AUDIENCE}/settings", audience.settings, name="audience-settings"),
    # These two are about computed traits as well.
    path(f"{AUDIENCE}/connect", audience.connect, name="audience-connect"),
    path(f"{AUDIENCE}/destinations/<str:subscription>", audience.subscription, name="subscription"),
    path(f"{SPACE}/computed-traits/<str:trait>", computed_trait.computed_trait, name="computed-trait"),
]
