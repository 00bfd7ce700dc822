"""Admin of people and API tokens."""

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from apps.accounts.forms import SignInForm
from apps.accounts.models import ApiToken, User
from apps.core.admin import LeanAdmin


class AdminSignInForm(SignInForm, AdminAuthenticationForm):
    """The admin's sign-in, which says so, too, when this address has failed too often."""


admin.site.login_form = AdminSignInForm


@admin.register(User)
class PersonAdmin(UserAdmin):
    """Accounts; imported annotators are named, inactive ones."""

    list_display = ("username", "email", "imported_name", "is_active", "is_staff", "last_login")
    search_fields = ("username", "email", "first_name", "last_name", "imported_name")
    fieldsets = (*(UserAdmin.fieldsets or ()), ("Import", {"fields": ("imported_name",)}))


@admin.register(ApiToken)
class ApiTokenAdmin(LeanAdmin):
    """Tokens can be revoked here; keys are made where their owner sees them once."""

    list_display = ("name", "user", "scope", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = ("scope",)
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    readonly_fields = (
        "user",
        "name",
        "scope",
        "created_at",
        "last_used_at",
        "last_used_from",
        "project_ids",
        "made_by",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A key is shown to its owner alone."""
        return False
