"""Test data with defaults: workspaces, people, spaces, sources."""

import factory
from django.contrib.auth import get_user_model

from access import roles
from access.models import Membership
from sources.models import Source, WriteKey
from spaces.models import Space, Workspace


class WorkspaceFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Workspace

    name = factory.Sequence(lambda n: f"Workspace {n}")
    slug = factory.Sequence(lambda n: f"workspace-{n}")


class SpaceFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Space

    workspace = factory.SubFactory(WorkspaceFactory)
    name = factory.Sequence(lambda n: f"Space {n}")
    slug = factory.Sequence(lambda n: f"space-{n}")


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = get_user_model()
        skip_postgeneration_save = True

    email = factory.Sequence(lambda n: f"person{n}@example.com")
    name = factory.Sequence(lambda n: f"Person {n:05}")  # none of which a test could find by chance


class MembershipFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Membership

    workspace = factory.SubFactory(WorkspaceFactory)
    user = factory.SubFactory(UserFactory)
    role = roles.MEMBER


class SourceFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Source

    workspace = factory.SubFactory(WorkspaceFactory)
    name = factory.Sequence(lambda n: f"Source {n}")
    slug = factory.Sequence(lambda n: f"source-{n}")


class WriteKeyFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = WriteKey

    source = factory.SubFactory(SourceFactory)
    workspace = factory.SelfAttribute("source.workspace")
