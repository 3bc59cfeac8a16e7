"""Which logs a service has: its environment's build, and one for each of its latest replicas."""

from deploy.models import Service
from deploy.selectors import current_revision, replicas_of
from runs.logs.log_file import build_log_of
from runs.logs.sources import BUILD, UNBUILT, LogSource, logs_of_group

REPLICAS_SHOWN = 20


def logs_of_service(service: Service) -> dict[str, LogSource]:
    """Return a service's logs by the names that pages know them under, the oldest first."""
    found: dict[str, LogSource] = {}
    environment = current_revision(service).environment
    if environment is not None:
        is_built = environment.state not in UNBUILT
        found[BUILD] = LogSource(build_log_of(environment), is_final=is_built)
    replicas = replicas_of(service).prefetch_related("group__processes")[:REPLICAS_SHOWN]
    for replica in reversed(replicas):
        if replica.group is not None:
            found |= logs_of_group(replica.group)
    return found
