"""Remove images of environments that nothing needs, as the supervisor does every day."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workspace.compute.abilities import BuildsImages
from workspace.compute.base import BackendError
from workspace.environments.pruning import prune
from workspace.models import ComputeTarget
from workspace.targets.backends import backend_for


class Command(BaseCommand):
    help = "Remove the images that targets keep no longer: unused for long, or beyond their size."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("target", nargs="*", help="names of targets; all when none is given")

    def handle(self, *args: Any, **options: Any) -> None:
        targets = ComputeTarget.objects.select_related("team").order_by("pk")
        if options["target"]:
            targets = targets.filter(name__in=options["target"])
        unknown = set(options["target"]) - {target.name for target in targets}
        if unknown:
            raise CommandError(f"There is no compute target {', '.join(sorted(unknown))}.")
        failed = []
        for target in targets:
            if not isinstance(backend_for(target), BuildsImages):
                continue
            try:
                removed = prune(target)
            except BackendError as error:
                failed.append(target.name)
                self.stderr.write(f"{target.team.slug}/{target.name}: {error}")
            else:
                self.stdout.write(f"{target.team.slug}/{target.name}: {removed} removed.")
        if failed:
            raise CommandError(f"Not pruned: {', '.join(failed)}.")
