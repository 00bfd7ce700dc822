"""Every address: pages here, the REST API under /api/v1/, Django's admin under /admin/."""

from django.contrib import admin
from django.urls import include, path
from django.views.i18n import set_language

urlpatterns = [
    path("admin/", admin.site.urls),
    path("language/", set_language, name="set-language"),
    path("api/v1/", include("apps.api.urls")),
    path("", include("apps.api.root_urls")),
    path("", include("apps.pages.urls")),
    path("", include("apps.core.urls")),
    path("", include("apps.accounts.urls")),
    path("", include("apps.projects.urls")),
    path("", include("apps.labeling.urls")),
    path("", include("apps.quality.urls")),
    path("", include("apps.jobs.urls")),
    path("", include("apps.endpoints.urls")),
    path("", include("apps.webhooks.urls")),
    path("", include("apps.imports.urls")),
    path("", include("apps.exports.urls")),
    path("", include("apps.reward_models.urls")),
    path("", include("apps.rules.urls")),
]

handler400 = "apps.api.problems.bad_request"
handler403 = "apps.api.problems.permission_denied"
handler404 = "apps.api.problems.page_not_found"
handler500 = "apps.api.problems.server_error"
