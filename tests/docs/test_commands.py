"""docs/commands.md lists every make target and every management command with its options."""

import re

from django.core.management import get_commands, load_command_class

from tests.docs.pages import ROOT, codes_in, rows_of

PAGE = "docs/commands.md"
OUR_APPS = {"config.backup", "workspace", "runs", "models", "deploy"}
COMMON_OPTIONS = {
    "--help",
    "--version",
    "--verbosity",
    "--settings",
    "--pythonpath",
    "--traceback",
    "--no-color",
    "--force-color",
    "--skip-checks",
}


def test_every_make_target_is_listed_and_nothing_else() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))
    listed = [codes_in(row[0])[0] for row in rows_of(PAGE, "make target")]
    assert {name.split()[1] for name in listed} == targets


def test_every_management_command_is_listed_with_its_options_and_nothing_else() -> None:
    ours: dict[str, set[str]] = {}
    for name, app in get_commands().items():
        if app in OUR_APPS:
            command = load_command_class(str(app), name)
            actions = command.create_parser("manage.py", name)._actions
            options = {option for action in actions for option in action.option_strings}
            ours[name] = {o for o in options if o.startswith("--")} - COMMON_OPTIONS
    listed = {
        codes_in(row[0])[0].split()[0]: set(re.findall(r"--[a-z-]+", " ".join(codes_in(row[0]))))
        for row in rows_of(PAGE, "manage.py command")
    }
    assert listed == ours
