from django.urls import path

from identity import rules_views, views

urlpatterns = [
    path(
        "w/<slug:workspace>/s/<slug:space>/settings/identity",
        rules_views.identity_settings,
        name="identity-settings",
    ),
    path("w/<slug:workspace>/s/<slug:space>/profiles", views.profiles, name="profiles"),
    path("w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>", views.profile, name="profile"),
    path("w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/sheet", views.sheet, name="profile-sheet"),
]
