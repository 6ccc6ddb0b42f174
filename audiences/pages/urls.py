from django.urls import path

from audiences.pages.views import audiences, builder, person

AUDIENCES = "w/<slug:workspace>/s/<slug:space>/audiences"

urlpatterns = [
    path(AUDIENCES, audiences.audiences, name="audiences"),
    path(f"{AUDIENCES}/new", builder.new, name="audience-new"),
    path(f"{AUDIENCES}/suggest", builder.suggest, name="audience-suggest"),
    path(f"{AUDIENCES}/drafts/<str:draft>", builder.draft, name="audience-draft"),
    path(f"{AUDIENCES}/<str:audience>/builder", builder.edit, name="audience-builder"),
    path(
        "w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/audiences",
        person.of_profile,
        name="profile-audiences",
    ),
    path(
        "w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/audiences/<str:audience>",
        person.why,
        name="profile-why",
    ),
]
