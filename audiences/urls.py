from django.urls import path

from audiences import builder_views, person_views, views

AUDIENCES = "w/<slug:workspace>/s/<slug:space>/audiences"

urlpatterns = [
    path(AUDIENCES, views.audiences, name="audiences"),
    path(f"{AUDIENCES}/new", builder_views.new, name="audience-new"),
    path(f"{AUDIENCES}/suggest", builder_views.suggest, name="audience-suggest"),
    path(f"{AUDIENCES}/drafts/<str:draft>", builder_views.draft, name="audience-draft"),
    path(f"{AUDIENCES}/<str:audience>/builder", builder_views.edit, name="audience-builder"),
    path(
        "w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/audiences",
        person_views.of_profile,
        name="profile-audiences",
    ),
    path(
        "w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/audiences/<str:audience>",
        person_views.why,
        name="profile-why",
    ),
]
