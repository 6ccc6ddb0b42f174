from django.urls import path

from access.pages.views import account, audit, people, tokens

ACCESS = "w/<slug:workspace>/settings/access-management"

urlpatterns = [
    path("", account.home, name="home"),
    path("sign-in", account.SignInView.as_view(), name="sign-in"),
    path("sign-out", account.SignOutView.as_view(), name="sign-out"),
    path("welcome/<str:secret>", account.welcome, name="welcome"),
    path("password", account.ResetView.as_view(), name="reset"),
    path("password/sent", account.ResetSentView.as_view(), name="reset-sent"),
    path("password/<uidb64>/<token>", account.NewPasswordView.as_view(), name="new-password"),
    path("account", account.account, name="account"),
    path("theme", account.theme, name="theme"),
    path("invitations/<str:secret>", account.AcceptView.as_view(), name="accept-invitation"),
    path("goto-my-workspace/settings/access-management", people.goto, name="goto-access"),
    path(ACCESS, people.access, name="access"),
    path(f"{ACCESS}/invite", people.invite, name="access-invite"),
    path(f"{ACCESS}/people/<str:person>", people.person, name="access-person"),
    path("w/<slug:workspace>/settings/audit", audit.audit_trail, name="audit"),
    path("w/<slug:workspace>/settings/tokens", tokens.tokens, name="tokens"),
    path("w/<slug:workspace>/s/<slug:space>/settings/profile-api", tokens.profile_tokens, name="profile-api"),
]
