from django.apps import AppConfig


class DeployConfig(AppConfig):
    name = "deploy"

    def ready(self) -> None:
        from deploy.supervision.model_source import MODEL, model_tar
        from runs.ingest.source import register_source

        register_source(MODEL, model_tar)
