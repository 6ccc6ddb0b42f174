from django.urls import path

from access import views

urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in", views.SignInView.as_view(), name="sign-in"),
    path("sign-out", views.SignOutView.as_view(), name="sign-out"),
    path("theme", views.theme, name="theme"),
    path("invitations/<str:secret>", views.AcceptView.as_view(), name="accept-invitation"),
]
