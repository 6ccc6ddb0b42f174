from django.urls import path

from audiences.api import cases, sql_traits, traits, versions, views

AUDIENCES = "spaces/<str:space_id>/audiences"
AUDIENCE = f"{AUDIENCES}/<str:audience_id>"
TRAITS = "spaces/<str:space_id>/computed-traits"
SQL_TRAITS = "spaces/<str:space_id>/sql-traits"
SQL_TRAIT = f"{SQL_TRAITS}/<str:sql_trait_id>"
WAREHOUSES = "spaces/<str:space_id>/warehouses"
WAREHOUSE = f"{WAREHOUSES}/<str:warehouse_id>"
TRAIT = f"{TRAITS}/<str:trait_id>"
CHANGE = f"{AUDIENCE}/changes/<str:change_id>"

urlpatterns = [
    path(AUDIENCES, views.AudiencesView.as_view(), name="api-audiences"),
    path(f"{AUDIENCES}/previews", views.PreviewView.as_view(), name="api-audience-preview"),
    path(f"{AUDIENCES}/bulk", views.SeveralAudiencesView.as_view(), name="api-audiences-bulk"),
    path(AUDIENCE, views.AudienceView.as_view(), name="api-audience"),
    path(f"{AUDIENCE}/end", views.EndView.as_view(), name="api-audience-end"),
    path(f"{AUDIENCE}/duplicate", views.DuplicateView.as_view(), name="api-audience-duplicate"),
    path(f"{AUDIENCE}/members", views.MembersView.as_view(), name="api-audience-members"),
    path(f"{AUDIENCE}/movement", views.MovementView.as_view(), name="api-audience-movement"),
    path(f"{AUDIENCE}/overlap", views.OverlapView.as_view(), name="api-audience-overlap"),
    path(f"{AUDIENCE}/forecast", views.ForecastView.as_view(), name="api-audience-forecast"),
    path(f"{AUDIENCE}/changes", views.ChangesView.as_view(), name="api-audience-changes"),
    path(f"{CHANGE}/entered", views.EnteredView.as_view(), name="api-audience-entered"),
    path(f"{CHANGE}/left", views.LeftView.as_view(), name="api-audience-left"),
    path(f"{AUDIENCE}/versions", versions.VersionsView.as_view(), name="api-audience-versions"),
    path(
        f"{AUDIENCE}/versions/<str:version_number>/restore",
        versions.RestoreVersionView.as_view(),
        name="api-audience-restore",
    ),
    path(f"{AUDIENCE}/cases", cases.CasesView.as_view(), name="api-audience-cases"),
    path(f"{AUDIENCE}/cases/run", cases.RunCasesView.as_view(), name="api-audience-cases-run"),
    path(f"{AUDIENCE}/cases/<str:case_id>", cases.CaseView.as_view(), name="api-audience-case"),
    path(f"{TRAIT}/cases", cases.TraitCasesView.as_view(), name="api-computed-trait-cases"),
    path(f"{TRAIT}/cases/run", cases.RunTraitCasesView.as_view(), name="api-computed-trait-cases-run"),
    path(f"{TRAIT}/cases/<str:case_id>", cases.TraitCaseView.as_view(), name="api-computed-trait-case"),
    path(TRAITS, traits.ComputedTraitsView.as_view(), name="api-computed-traits"),
    path(f"{TRAITS}/previews", traits.TraitPreviewView.as_view(), name="api-computed-trait-preview"),
    path(f"{TRAITS}/bulk", traits.SeveralTraitsView.as_view(), name="api-computed-traits-bulk"),
    path(TRAIT, traits.ComputedTraitView.as_view(), name="api-computed-trait"),
    path(f"{TRAIT}/duplicate", traits.DuplicateTraitView.as_view(), name="api-computed-trait-duplicate"),
    path(f"{TRAIT}/values", traits.TraitValuesView.as_view(), name="api-computed-trait-values"),
    path(f"{TRAIT}/versions", versions.TraitVersionsView.as_view(), name="api-computed-trait-versions"),
    path(
        f"{TRAIT}/versions/<str:version_number>/restore",
        versions.RestoreTraitVersionView.as_view(),
        name="api-computed-trait-restore",
    ),
    path(
        "spaces/<str:space_id>/profiles/<str:profile_id>/computed-traits",
        traits.ProfileTraitsView.as_view(),
        name="api-profile-computed-traits",
    ),
    path(
        "spaces/<str:space_id>/profiles/<str:profile_id>/audiences/<str:audience_id>",
        views.ExplanationView.as_view(),
        name="api-explanation",
    ),
    path(WAREHOUSES, sql_traits.WarehousesView.as_view(), name="api-warehouses"),
    path(WAREHOUSE, sql_traits.WarehouseView.as_view(), name="api-warehouse"),
    path(f"{WAREHOUSE}/test", sql_traits.WarehouseTestView.as_view(), name="api-warehouse-test"),
    path(SQL_TRAITS, sql_traits.SqlTraitsView.as_view(), name="api-sql-traits"),
    path(f"{SQL_TRAITS}/previews", sql_traits.SqlPreviewView.as_view(), name="api-sql-trait-preview"),
    path(SQL_TRAIT, sql_traits.SqlTraitView.as_view(), name="api-sql-trait"),
    path(f"{SQL_TRAIT}/run", sql_traits.SqlTraitRunView.as_view(), name="api-sql-trait-run"),
    path(f"{SQL_TRAIT}/runs", sql_traits.SqlRunsView.as_view(), name="api-sql-trait-runs"),
    path("spaces/<str:space_id>/seen", views.SeenView.as_view(), name="api-seen"),
    path("spaces/<str:space_id>/condition-kinds", views.ConditionKindsView.as_view(), name="api-condition-kinds"),
]
