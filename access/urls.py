from django.urls import path

from access import people_views, token_views, views

ACCESS = "w/<slug:workspace>/settings/access-management"

urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in", views.SignInView.as_view(), name="sign-in"),
    path("sign-out", views.SignOutView.as_view(), name="sign-out"),
    path("theme", views.theme, name="theme"),
    path("invitations/<str:secret>", views.AcceptView.as_view(), name="accept-invitation"),
    path("goto-my-workspace/settings/access-management", people_views.goto, name="goto-access"),
    path(ACCESS, people_views.access, name="access"),
    path(f"{ACCESS}/invite", people_views.invite, name="access-invite"),
    path(f"{ACCESS}/people/<str:person>", people_views.person, name="access-person"),
    path("w/<slug:workspace>/settings/tokens", token_views.tokens, name="tokens"),
]
