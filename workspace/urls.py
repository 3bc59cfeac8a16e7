"""Addresses of accounts, teams, compute targets and environments."""

from django.urls import path

from workspace import views_account, views_compute, views_targets, views_team

app_name = "workspace"
team = "t/<slug:slug>/"
target = team + "targets/<slug:name>/"
urlpatterns = [
    path("", views_account.home, name="home"),
    path("login/", views_account.log_in, name="login"),
    path("logout/", views_account.log_out, name="logout"),
    path("account/", views_account.account, name="account"),
    path("account/password/", views_account.password, name="password"),
    path("account/tokens/<int:pk>/revoke/", views_account.token_revoke, name="token_revoke"),
    path("invitations/<str:secret>/", views_account.invitation, name="invitation"),
    path("teams/", views_team.teams, name="teams"),
    path(team + "members/", views_team.members, name="members"),
    path(team + "members/invite/", views_team.member_invite, name="member_invite"),
    path(team + "members/<int:pk>/role/", views_team.member_role, name="member_role"),
    path(team + "members/<int:pk>/remove/", views_team.member_remove, name="member_remove"),
    path(team + "leave/", views_team.leave, name="leave"),
    path(
        team + "invitations/<int:pk>/revoke/",
        views_team.invitation_revoke,
        name="invitation_revoke",
    ),
    path(team + "settings/", views_team.settings, name="settings"),
    path(team + "audit/", views_team.audit_log, name="audit"),
    path(team + "targets/", views_targets.targets, name="targets"),
    path(team + "new-target/", views_targets.target_new, name="target_new"),
    path(team + "new-target/this-engine/", views_targets.use_this_engine, name="use_this_engine"),
    path(target + "settings/", views_targets.target_settings, name="target_settings"),
    path(target + "access/", views_targets.target_access, name="target_access"),
    path(target + "access/<slug:to>/revoke/", views_targets.revoke, name="target_revoke"),
    path(target + "test/", views_targets.target_test, name="target_test"),
    path(target + "test/steps/", views_targets.trial_steps, name="trial_steps"),
    path(target + "set/<slug:state>/", views_targets.target_set, name="target_set"),
    path(target + "delete/", views_targets.target_delete, name="target_delete"),
    path(team + "environments/", views_compute.environment_list, name="environments"),
    path(
        team + "environments/remove-unused/",
        views_compute.environments_remove_unused,
        name="environments_remove_unused",
    ),
    path(team + "environments/<int:pk>/", views_compute.environment, name="environment"),
    path(
        team + "environments/<int:pk>/log/", views_compute.environment_log, name="environment_log"
    ),
    path(
        team + "environments/<int:pk>/retry/",
        views_compute.environment_retry,
        name="environment_retry",
    ),
    path(
        team + "environments/<int:pk>/remove/",
        views_compute.environment_remove,
        name="environment_remove",
    ),
]
