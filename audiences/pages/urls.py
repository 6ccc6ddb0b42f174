from django.urls import path

from audiences.pages.views import audiences, builder, cases, person, sql_traits, traits, versions, warehouses

AUDIENCES = "w/<slug:workspace>/s/<slug:space>/audiences"

TRAITS = "w/<slug:workspace>/s/<slug:space>/computed-traits"
SQL_TRAITS = "w/<slug:workspace>/s/<slug:space>/sql-traits"
WAREHOUSES = "w/<slug:workspace>/s/<slug:space>/warehouses"

urlpatterns = [
    path(AUDIENCES, audiences.audiences, name="audiences"),
    path(f"{AUDIENCES}/new", builder.new, name="audience-new"),
    path(f"{AUDIENCES}/suggest", builder.suggest, name="audience-suggest"),
    path(f"{AUDIENCES}/drafts/<str:draft>", builder.draft, name="audience-draft"),
    path(f"{AUDIENCES}/<str:audience>/builder", builder.edit, name="audience-builder"),
    path(f"{AUDIENCES}/<str:audience>/history", audiences.audience_history, name="audience-history"),
    path(
        f"{AUDIENCES}/<str:audience>/history/<str:side>.csv",
        audiences.history_people,
        name="audience-history-people",
    ),
    path(f"{AUDIENCES}/<str:audience>/download", audiences.download, name="audience-download"),
    path(f"{AUDIENCES}/<str:audience>/versions", versions.versions, name="audience-versions"),
    path(f"{AUDIENCES}/<str:audience>/cases", cases.audience_cases, name="audience-cases"),
    path(f"{AUDIENCES}/<str:audience>/cases/new", cases.audience_case, name="audience-case-new"),
    path(f"{AUDIENCES}/<str:audience>/cases/<str:case>", cases.audience_case, name="audience-case"),
    path(f"{TRAITS}/<str:trait>/cases", cases.trait_cases, name="computed-trait-cases"),
    path(f"{TRAITS}/<str:trait>/cases/new", cases.trait_case, name="computed-trait-case-new"),
    path(f"{TRAITS}/<str:trait>/cases/<str:case>", cases.trait_case, name="computed-trait-case"),
    path(TRAITS, traits.traits, name="computed-traits"),
    path(f"{TRAITS}/new", traits.new, name="computed-trait-new"),
    path(f"{TRAITS}/<str:trait>/edit", traits.edit, name="computed-trait-edit"),
    path(f"{TRAITS}/<str:trait>/values.csv", traits.values, name="computed-trait-values"),
    path(f"{TRAITS}/<str:trait>/settings", traits.settings, name="computed-trait-settings"),
    path(SQL_TRAITS, sql_traits.sql_traits, name="sql-traits"),
    path(f"{SQL_TRAITS}/new", sql_traits.new, name="sql-trait-new"),
    path(f"{SQL_TRAITS}/<str:sql_trait>", sql_traits.sql_trait, name="sql-trait"),
    path(f"{SQL_TRAITS}/<str:sql_trait>/edit", sql_traits.edit, name="sql-trait-edit"),
    path(WAREHOUSES, warehouses.warehouses, name="warehouses"),
    path(f"{WAREHOUSES}/new", warehouses.new, name="warehouse-new"),
    path(f"{WAREHOUSES}/<str:warehouse>", warehouses.warehouse, name="warehouse"),
    path(f"{TRAITS}/<str:trait>/versions", versions.trait_versions, name="computed-trait-versions"),
    path(
        "w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/audiences",
        person.of_profile,
        name="profile-audiences",
    ),
    path(
        "w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/computed-traits",
        person.computed,
        name="profile-computed-traits",
    ),
    path(
        "w/<slug:workspace>/s/<slug:space>/profiles/<str:profile>/audiences/<str:audience>",
        person.why,
        name="profile-why",
    ),
]
