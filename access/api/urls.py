from django.urls import path

from access.api import views

urlpatterns = [
    path("workspace", views.WorkspaceView.as_view(), name="api-workspace"),
    path("spaces", views.SpacesView.as_view(), name="api-spaces"),
    path("spaces/<str:space_id>", views.SpaceView.as_view(), name="api-space"),
    path("spaces/<str:space_id>/profile-tokens", views.ProfileTokensView.as_view(), name="api-profile-tokens"),
    path(
        "spaces/<str:space_id>/profile-tokens/<str:profile_token_id>",
        views.ProfileTokenView.as_view(),
        name="api-profile-token",
    ),
    path("invites", views.InvitesView.as_view(), name="api-invites"),
    path("invites/<str:invite_id>", views.InviteView.as_view(), name="api-invite"),
    path("users", views.UsersView.as_view(), name="api-users"),
    path("tokens", views.TokensView.as_view(), name="api-tokens"),
    path("tokens/<str:token_id>", views.TokenView.as_view(), name="api-token"),
    path("audit", views.AuditView.as_view(), name="api-audit"),
    path("deletions", views.DeletionsView.as_view(), name="api-deletions"),
    path("schema", views.SchemaView.as_view(), name="api-schema"),
    path("docs", views.DocsView.as_view(), name="api-docs"),
]
