"""The preflight's rules about TensorFlow: which idioms fail in which version and mode."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from runs.preflight.findings import PreflightFinding
from runs.preflight.python_packages import Requirement, words
from runs.preflight.python_source import MethodCall, NameUse, SourceProgram

# The exact versions that the curated environments hold.
EXACT = {"2.21": "2.21.0", "2.15": "2.15.1"}
TENSORFLOW_PACKAGES = frozenset(
    {"tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tf-nightly"}
)
STRATEGIES = frozenset(
    {
        "MultiWorkerMirroredStrategy",
        "CollectiveAllReduceStrategy",
        "ParameterServerStrategy",
        "MirroredStrategy",
        "CentralStorageStrategy",
        "OneDeviceStrategy",
        "TPUStrategy",
    }
)
MULTI_WORKER_STRATEGIES = frozenset({"MultiWorkerMirroredStrategy", "CollectiveAllReduceStrategy"})
# Names that TensorFlow 2 has only below tf.compat.v1.
TF1_NAMES = words(
    """AUTO_REUSE ConfigProto GPUOptions GraphKeys InteractiveSession Session
    add_to_collection app assign assign_add diag disable_eager_execution disable_v2_behavior
    enable_eager_execution flags get_collection get_default_graph get_default_session get_variable
    get_variable_scope gfile global_variables global_variables_initializer
    initialize_all_variables layers local_variables_initializer logging log multinomial
    placeholder placeholder_with_default py_func random_normal random_uniform
    reset_default_graph set_random_seed sparse_placeholder sparse_to_dense tables_initializer
    to_float to_int32 to_int64 trainable_variables truncated_normal variable_scope
    train.AdagradOptimizer train.AdamOptimizer train.FtrlOptimizer
    train.GradientDescentOptimizer train.MomentumOptimizer train.MonitoredTrainingSession
    train.RMSPropOptimizer train.Saver train.Server train.Supervisor
    train.SyncReplicasOptimizer train.get_or_create_global_step
    train.replica_device_setter"""
)
TRUE = frozenset({"true", "True", "1"})


@dataclass(frozen=True)
class PreflightContext:
    """A program, and what it is to run in.

    `is_read_whole` says whether absence means something: every file in reach could be read.
    """

    program: SourceProgram
    framework_version: str
    mode: str
    has_chief: bool
    environment_variables: Mapping[str, str]
    requirements: tuple[Requirement, ...]
    use_gpu: bool
    is_read_whole: bool

    @property
    def release(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.framework_version.split(".")[:2])

    @property
    def has_keras_3(self) -> bool:
        """Whether the version brings Keras 3: tf.keras is that, unless told to be tf_keras."""
        return self.release >= (2, 16)

    @property
    def tf_keras_is_legacy(self) -> bool:
        told = self.environment_variables.get("TF_USE_LEGACY_KERAS")
        if told is None:
            return self.mode in ("multi_worker", "parameter_server")
        return told in TRUE

    @cached_property
    def uses(self) -> list[tuple[str, NameUse]]:
        return [
            (path, NameUse(use.name.replace("tensorflow.compat.v2.", "tensorflow."), use.line))
            for path, use in self.program.uses()
        ]

    def first_use(self, *prefixes: str) -> tuple[str, NameUse] | None:
        """Find where the program first says one of these names, or something below one."""
        for path, use in self.uses:
            if any(use.name == prefix or use.name.startswith(f"{prefix}.") for prefix in prefixes):
                return path, use
        return None

    def strategy(self, names: frozenset[str]) -> tuple[str, NameUse] | None:
        for path, use in self.uses:
            if use.name.startswith("tensorflow.") and not names.isdisjoint(use.name.split(".")):
                return path, use
        return None

    def keras_fit(self) -> tuple[str, MethodCall] | None:
        """Find where a model that may be Keras' is fitted."""
        for path, call in self.program.calls():
            root = call.owner.split(".")[0].removesuffix("()")
            if call.method == "fit" and root in ("", "keras", "tensorflow"):
                return path, call
        return None


def estimator_has_ended(it: PreflightContext) -> Iterator[PreflightFinding]:
    found = it.first_use("tensorflow.estimator", "tensorflow.compat.v1.estimator")
    if found and it.release >= (2, 16):
        path, use = found
        yield PreflightFinding(
            "refuse",
            "estimator-ended",
            "framework_version",
            f"{path}:{use.line} uses tf.estimator, which ended with TensorFlow 2.15.",
            "Choose framework_version 2.15.",
            path,
            use.line,
        )


def keras_3_cannot_fit(it: PreflightContext) -> Iterator[PreflightFinding]:
    if not it.has_keras_3 or it.mode not in ("multi_worker", "parameter_server"):
        return
    fitted = it.keras_fit()
    if not fitted or not it.strategy(STRATEGIES):
        return
    name = "MultiWorkerMirroredStrategy" if it.mode == "multi_worker" else "ParameterServerStrategy"
    direct = it.first_use("keras")
    if direct:
        path, use = direct
        yield PreflightFinding(
            "refuse",
            "keras-3-fit",
            "framework_version",
            f"{path}:{use.line} imports keras, which is Keras 3 here: its fit fails under {name}.",
            "Use tf.keras or tf_keras instead of keras, or framework_version 2.15.",
            path,
            use.line,
        )
    elif not it.tf_keras_is_legacy:
        path, call = fitted
        told = it.environment_variables["TF_USE_LEGACY_KERAS"]
        yield PreflightFinding(
            "refuse",
            "keras-3-fit",
            "environment_variables",
            f"TF_USE_LEGACY_KERAS={told} makes tf.keras Keras 3, whose fit ({path}:{call.line}) "
            f"fails under {name}.",
            "Set TF_USE_LEGACY_KERAS to 1 or leave it out, or choose framework_version 2.15.",
            path,
            call.line,
        )


def keras_pin(it: PreflightContext) -> Iterator[PreflightFinding]:
    for wanted in it.requirements:
        if wanted.name != "keras" or not wanted.clauses:
            continue
        brought, way_out = ("2.15", "2.21") if it.release < (2, 16) else ("3.12", "2.15")
        if not it.has_keras_3 and not wanted.allows("2.15.0"):
            yield PreflightFinding(
                "refuse",
                "keras-pin",
                wanted.field,
                f"{wanted.text} can't be installed beside TensorFlow {it.framework_version}, "
                f"which needs Keras {brought}.",
                f"Leave keras out, or choose framework_version {way_out}.",
                line=wanted.line,
            )
        elif it.has_keras_3 and not any(wanted.allows(v) for v in ("3.12.0", "3.99.0")):
            yield PreflightFinding(
                "warn",
                "keras-pin",
                wanted.field,
                f"{wanted.text} may not go with TensorFlow {it.framework_version}, "
                f"which needs Keras {brought} or newer.",
                "Leave keras out; Keras 2 is there as tf_keras, and as tf.keras with "
                "TF_USE_LEGACY_KERAS=1.",
                line=wanted.line,
            )
        elif it.has_keras_3 and it.tf_keras_is_legacy and not it.first_use("keras"):
            yield PreflightFinding(
                "warn",
                "keras-pin",
                wanted.field,
                f"{wanted.text} has no effect on tf.keras, which is tf_keras (Keras 2) here.",
                "Leave keras out, or import it as keras where its fit is not needed.",
                line=wanted.line,
            )


def keras_3_saves_no_folder(it: PreflightContext) -> Iterator[PreflightFinding]:
    if not it.has_keras_3 or (it.tf_keras_is_legacy and not it.first_use("keras")):
        return
    if not it.first_use("keras", "tensorflow.keras"):
        return
    for path, call in it.program.calls():
        root = call.owner.split(".")[0].removesuffix("()")
        folder = call.first_text
        if call.method != "save" or root not in ("", "keras", "tensorflow") or not folder:
            continue
        if call.owner.startswith("tensorflow.") and ".keras" not in call.owner:
            continue
        if "." not in folder.rsplit("/", 1)[-1]:
            yield PreflightFinding(
                "warn",
                "keras-3-save",
                "entry_script",
                f'{path}:{call.line} saves to "{folder}", and Keras 3\'s save writes .keras files '
                "only.",
                f'For a SavedModel to deploy, call model.export("{folder}").',
                path,
                call.line,
            )
            return


def horovod(it: PreflightContext) -> Iterator[PreflightFinding]:
    found = it.first_use("horovod")
    if not found:
        if it.mode == "mpi" and it.is_read_whole and not it.first_use("mpi4py"):
            yield PreflightFinding(
                "warn",
                "mpi-without-communication",
                "distributed_training",
                "The mode is mpi, but no file in reach of the entry script imports horovod or "
                "mpi4py: every process would train a model of its own.",
                "Import horovod.tensorflow as hvd and call hvd.init(), or choose another mode.",
            )
        return
    path, use = found
    if it.release >= (2, 16):
        yield PreflightFinding(
            "refuse",
            "horovod-version",
            "framework_version",
            f"{path}:{use.line} imports horovod, whose last release, 0.28.1, can't be built with "
            f"TensorFlow {it.framework_version}.",
            "Choose framework_version 2.15, or MultiWorkerMirroredStrategy.",
            path,
            use.line,
        )
    elif not any(other.name.startswith("horovod.") for _, other in it.uses):
        yield PreflightFinding(
            "warn",
            "horovod-alone",
            "entry_script",
            f"{path}:{use.line} imports horovod alone, which does nothing.",
            "Write: import horovod.tensorflow as hvd, then hvd.init().",
            path,
            use.line,
        )
    elif it.mode != "mpi":
        yield PreflightFinding(
            "warn",
            "horovod-without-mpi",
            "distributed_training",
            f"{path}:{use.line} imports horovod, but the mode is {it.mode}: every process would "
            "train alone.",
            'Choose the mode mpi: {"type": "mpi", "process_count_per_node": 2}.',
            path,
            use.line,
        )


def mode_fits_strategy(it: PreflightContext) -> Iterator[PreflightFinding]:
    multi = it.strategy(MULTI_WORKER_STRATEGIES)
    if it.mode == "single" and multi:
        path, use = multi
        yield PreflightFinding(
            "warn",
            "strategy-in-single-mode",
            "distributed_training",
            f"{path}:{use.line} uses {use.name.rsplit('.', 1)[-1]}, but the mode is single: it "
            "would train with one worker.",
            'Choose {"type": "multi_worker", "worker_count": 2}.',
            path,
            use.line,
        )
    if not it.is_read_whole:
        return
    if it.mode == "multi_worker" and not it.strategy(STRATEGIES):
        yield PreflightFinding(
            "warn",
            "no-strategy",
            "distributed_training",
            "The mode is multi_worker, but no file in reach of the entry script uses a "
            "tf.distribute strategy: every worker would train a model of its own.",
            "Use tf.distribute.MultiWorkerMirroredStrategy, or choose the mode single.",
        )
    if it.mode == "parameter_server" and not _knows_parameter_servers(it):
        yield PreflightFinding(
            "warn",
            "no-parameter-servers",
            "distributed_training",
            "The mode is parameter_server, but no file in reach of the entry script uses "
            "ParameterServerStrategy, tf.estimator, tf.train.ClusterSpec or TF_CONFIG.",
            "Use tf.distribute.ParameterServerStrategy, or choose another mode.",
        )


def _knows_parameter_servers(it: PreflightContext) -> bool:
    return bool(
        it.strategy(frozenset({"ParameterServerStrategy", "ClusterSpec", "cluster_resolver"}))
        or it.first_use("tensorflow.estimator", "tensorflow.compat.v1.estimator")
        or any("TF_CONFIG" in source.texts for source in it.program.sources)
    )


def tensorflow_pin(it: PreflightContext) -> Iterator[PreflightFinding]:
    exact = EXACT.get(it.framework_version, f"{it.framework_version}.0")
    for wanted in it.requirements:
        if wanted.name not in TENSORFLOW_PACKAGES:
            continue
        patches = (f"{it.framework_version}.{patch}" for patch in range(10))
        if wanted.name == "tf-nightly" or not any(wanted.allows(version) for version in patches):
            yield PreflightFinding(
                "refuse",
                "tensorflow-pin",
                wanted.field,
                f"{wanted.text} asks for another TensorFlow than framework_version "
                f"{it.framework_version} brings ({exact}).",
                "Leave it out of the requirements, or choose the framework_version that it names.",
                line=wanted.line,
            )
        elif not wanted.allows(exact):
            yield PreflightFinding(
                "warn",
                "tensorflow-patch",
                wanted.field,
                f"{wanted.text} is not the {exact} that framework_version "
                f"{it.framework_version} brings.",
                "Leave it out of the requirements.",
                line=wanted.line,
            )
        elif wanted.name == "tensorflow-cpu" and it.use_gpu:
            yield PreflightFinding(
                "warn",
                "cpu-package",
                wanted.field,
                "tensorflow-cpu computes on the CPU only, and use_gpu is set.",
                "Leave it out: the environment brings TensorFlow with CUDA.",
                line=wanted.line,
            )


def tensorflow_1_idioms(it: PreflightContext) -> Iterator[PreflightFinding]:
    for path, use in it.uses:
        name = use.name.removeprefix("tensorflow.")
        if name == use.name:
            continue
        below = name.removeprefix("compat.v1.").split(".")
        if below[0] == "contrib" or below[:2] == ["examples", "tutorials"]:
            yield PreflightFinding(
                "warn",
                "tensorflow-1",
                "framework_version",
                f"{path}:{use.line} uses tf.{'.'.join(below[:2])}, which TensorFlow 2 does not "
                "have.",
                "Replace it: what tf.contrib held moved to TensorFlow itself, to TensorFlow "
                "Addons or away.",
                path,
                use.line,
            )
            return
        if below[0] in TF1_NAMES or ".".join(below[:2]) in TF1_NAMES:
            if name.startswith("compat.v1."):
                continue
            yield PreflightFinding(
                "warn",
                "tensorflow-1",
                "framework_version",
                f"{path}:{use.line} uses tf.{name}, which is TensorFlow 1's.",
                "Write: import tensorflow.compat.v1 as tf, then tf.disable_v2_behavior().",
                path,
                use.line,
            )
            return


RULES: tuple[Callable[[PreflightContext], Iterator[PreflightFinding]], ...] = (
    estimator_has_ended,
    keras_3_cannot_fit,
    keras_pin,
    keras_3_saves_no_folder,
    horovod,
    mode_fits_strategy,
    tensorflow_pin,
    tensorflow_1_idioms,
)
