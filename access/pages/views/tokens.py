"""API tokens of one's own: made, shown once, revoked."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from access import services
from access.models import Token
from access.pages.people_forms import NewToken
from access.pages.tables import listed
from access.requests import PageRequest
from spaces.needs import needs


@never_cache
@needs("workspace.read")
def tokens(request: PageRequest, workspace: str) -> HttpResponse:
    """Your tokens; for an owner everybody's. A POST makes one, or revokes the one it names: `?revoke=` asks first."""
    if request.method == "POST" and "revoke" in request.POST:
        return _revoke(request, _one(request, request.POST["revoke"]))
    if request.method == "GET" and "revoke" in request.GET:
        context = {"token": _one(request, request.GET["revoke"]), "here": request.path}
        return render(request, "access/revoke_token.html", context)
    form, secret, made = NewToken(request.POST or None), "", None
    if request.method == "POST" and form.is_valid():
        # Answered without a redirect: the secret would have to be kept somewhere on the way.
        made, secret = services.create_token(
            request.workspace, request.user, name=form.cleaned_data["name"], by=request
        )
        form = NewToken()
    found, pager = listed(request, services.tokens_of(request.membership), order="-id")
    context = {
        "form": form,
        "tokens": found,
        "pager": pager,
        "secret": secret,
        "made": made,
        "everybody": request.membership.may("workspace.manage"),
    }
    status = 422 if request.method == "POST" and made is None else 201 if made else 200
    return render(request, "access/tokens.html", context, status=status)


def _one(request: PageRequest, wanted: str) -> Token:
    """One of the tokens that this person can see. Raises Http404."""
    token = services.tokens_of(request.membership).filter(public_id=wanted).first()
    if token is None:
        raise Http404
    return token


def _revoke(request: PageRequest, token: Token) -> HttpResponse:
    services.revoke_token(token, by=request)
    messages.success(request, f"“{token.name}” was revoked. Whoever uses it is a stranger from now on.")
    return redirect("tokens", workspace=request.workspace.slug)
