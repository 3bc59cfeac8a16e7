"""Addresses of accounts, teams, compute targets and environments."""

from django.urls import path

from workspace.accounts import account_pages, team_pages
from workspace.environments import pages
from workspace.secrets import pages as secret_pages
from workspace.targets import pages as views_targets

app_name = "workspace"
team = "t/<slug:slug>/"
target = team + "targets/<slug:name>/"
urlpatterns = [
    path("", account_pages.home, name="home"),
    path("login/", account_pages.log_in, name="login"),
    path("logout/", account_pages.log_out, name="logout"),
    path("account/", account_pages.account, name="account"),
    path("account/password/", account_pages.password, name="password"),
    path("account/tokens/<int:pk>/revoke/", account_pages.token_revoke, name="token_revoke"),
    path("invitations/<str:secret>/", account_pages.invitation, name="invitation"),
    path("teams/", team_pages.teams, name="teams"),
    path(team + "members/", team_pages.members, name="members"),
    path(team + "members/invite/", team_pages.member_invite, name="member_invite"),
    path(team + "members/<int:pk>/role/", team_pages.member_role, name="member_role"),
    path(team + "members/<int:pk>/remove/", team_pages.member_remove, name="member_remove"),
    path(team + "leave/", team_pages.leave, name="leave"),
    path(
        team + "invitations/<int:pk>/revoke/",
        team_pages.invitation_revoke,
        name="invitation_revoke",
    ),
    path(team + "secrets/", secret_pages.secrets, name="secrets"),
    path(team + "secrets/<str:name>/delete/", secret_pages.secret_delete, name="secret_delete"),
    path(team + "settings/", team_pages.settings, name="settings"),
    path(team + "audit/", team_pages.audit_log, name="audit"),
    path(team + "targets/", views_targets.targets, name="targets"),
    path(team + "new-target/", views_targets.target_new, name="target_new"),
    path(team + "new-target/this-engine/", views_targets.add_local_engine, name="add_local_engine"),
    path(target + "settings/", views_targets.target_settings, name="target_settings"),
    path(target + "access/", views_targets.target_access, name="target_access"),
    path(target + "access/<slug:to>/revoke/", views_targets.revoke, name="target_revoke"),
    path(target + "test/", views_targets.target_test, name="target_test"),
    path(target + "test/steps/", views_targets.connection_test_steps, name="connection_test_steps"),
    path(target + "set/<slug:state>/", views_targets.target_set, name="target_set"),
    path(target + "delete/", views_targets.target_delete, name="target_delete"),
    path(
        team + "target-offers/<slug:owner>/<slug:name>/accept/",
        views_targets.offer_accept,
        name="offer_accept",
    ),
    path(
        team + "target-offers/<slug:owner>/<slug:name>/decline/",
        views_targets.offer_decline,
        name="offer_decline",
    ),
    path(team + "environments/", pages.environment_list, name="environments"),
    path(
        team + "environments/remove-unused/",
        pages.environments_remove_unused,
        name="environments_remove_unused",
    ),
    path(team + "environments/<int:pk>/", pages.environment, name="environment"),
    path(team + "environments/<int:pk>/log/", pages.environment_log, name="environment_log"),
    path(
        team + "environments/<int:pk>/retry/",
        pages.environment_retry,
        name="environment_retry",
    ),
    path(
        team + "environments/<int:pk>/remove/",
        pages.environment_remove,
        name="environment_remove",
    ),
]
