from django.urls import path

from access import api

urlpatterns = [
    path("workspace", api.WorkspaceView.as_view(), name="api-workspace"),
    path("spaces", api.SpacesView.as_view(), name="api-spaces"),
    path("spaces/<str:space_id>", api.SpaceView.as_view(), name="api-space"),
    path("invites", api.InvitesView.as_view(), name="api-invites"),
    path("invites/<str:invite_id>", api.InviteView.as_view(), name="api-invite"),
    path("users", api.UsersView.as_view(), name="api-users"),
    path("tokens", api.TokensView.as_view(), name="api-tokens"),
    path("tokens/<str:token_id>", api.TokenView.as_view(), name="api-token"),
    path("deletions", api.DeletionsView.as_view(), name="api-deletions"),
    path("schema", api.SchemaView.as_view(), name="api-schema"),
    path("docs", api.DocsView.as_view(), name="api-docs"),
]
