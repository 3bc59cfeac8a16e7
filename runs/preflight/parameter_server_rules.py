"""The preflight's rule about parameter servers that no chief leads."""

from collections.abc import Iterator

from runs.preflight.findings import PreflightFinding
from runs.preflight.python_source import NameUse
from runs.preflight.tensorflow_rules import PreflightContext

ESTIMATORS = ("tensorflow.estimator.", "tensorflow.compat.v1.estimator.")
# What reads TF_CONFIG at once and refuses a cluster without a chief.
ESTIMATOR_NAMES = ("RunConfig", "train_and_evaluate", "Classifier", "Regressor", "Estimator")
COORDINATORS = (
    "tensorflow.distribute.ParameterServerStrategy",
    "tensorflow.distribute.experimental.ParameterServerStrategy",
    "tensorflow.distribute.coordinator",
    "tensorflow.distribute.experimental.coordinator",
)
RESOLVER = "tensorflow.distribute.cluster_resolver.TFConfigClusterResolver"


def parameter_servers_need_a_chief(it: PreflightContext) -> Iterator[PreflightFinding]:
    """Refuse a cluster without a chief where the script takes it as it is, else warn.

    A script that writes TF_CONFIG or lists the cluster itself may make a worker the chief. Sessions
    with tf.train.Server need none.
    """
    if it.mode != "parameter_server" or it.has_chief:
        return
    estimator, coordinator = _estimator(it), it.first_use(*COORDINATORS)
    found = estimator or coordinator
    if not found:
        return
    takes_it_as_it_is = (
        it.is_read_whole
        and (estimator is not None or it.first_use(RESOLVER) is not None)
        and not any("TF_CONFIG" in source.texts for source in it.program.sources)
    )
    path, use = found
    fails = "every process would fail" if estimator else "all processes would wait for ever"
    if not takes_it_as_it_is:
        fails = f"unless the script makes a worker the chief, {fails}"
    yield PreflightFinding(
        "refuse" if takes_it_as_it_is else "warn",
        "no-chief",
        "distributed_training.chief",
        f"{path}:{use.line} uses {use.name.replace('tensorflow.', 'tf.', 1)}, and there "
        f"is no chief: {fails}.",
        "Set chief to true in distributed_training.",
        path,
        use.line,
    )


def _estimator(it: PreflightContext) -> tuple[str, NameUse] | None:
    for path, use in it.uses:
        if use.name.startswith(ESTIMATORS) and use.name.endswith(ESTIMATOR_NAMES):
            return path, use
    return it.first_use("tensorflow.keras.estimator", "tensorflow.compat.v1.keras.estimator")
