from django.urls import path

from audiences import views

urlpatterns = [
    path("w/<slug:workspace>/s/<slug:space>/audiences", views.audiences, name="audiences"),
    path(
        "w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/audiences",
        views.of_profile,
        name="profile-audiences",
    ),
]
