"""Which package brings which import, and what a line of requirements asks for."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workspace.compute.requirements import logical_lines, takes_part

# Names as imported, where the package is called otherwise; the first is the one to suggest.
PACKAGES_OF = {
    "Crypto": ("pycryptodome",),
    "IPython": ("ipython",),
    "PIL": ("pillow", "pillow-simd"),
    "attr": ("attrs",),
    "azureml": ("azureml-core",),
    "bs4": ("beautifulsoup4",),
    "cv2": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "dateutil": ("python-dateutil",),
    "dotenv": ("python-dotenv",),
    "faiss": ("faiss-cpu", "faiss-gpu"),
    "git": ("gitpython",),
    "google": ("protobuf",),
    "google.cloud": ("google-cloud-storage",),
    "grpc": ("grpcio",),
    "imblearn": ("imbalanced-learn",),
    "magic": ("python-magic",),
    "mpl_toolkits": ("matplotlib",),
    "pkg_resources": ("setuptools",),
    "pycocotools": ("pycocotools",),
    "serial": ("pyserial",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "skopt": ("scikit-optimize",),
    "umap": ("umap-learn",),
    "usb": ("pyusb",),
    "yaml": ("pyyaml",),
    "zmq": ("pyzmq",),
}

# What comes along with a package; only what scripts are seen to import without asking for it.
BROUGHT_BY = {
    "azureml-core": ("azureml-defaults", "azureml-sdk"),
    "cycler": ("matplotlib",),
    "dill": ("apache-beam", "datasets", "tensorflow-datasets"),
    "huggingface-hub": ("transformers", "datasets"),
    "joblib": ("scikit-learn", "librosa", "imbalanced-learn"),
    "matplotlib": ("seaborn", "mlxtend"),
    "pandas": ("seaborn", "statsmodels", "xarray", "datasets", "mlxtend"),
    "pillow": ("matplotlib", "scikit-image", "imageio", "torchvision"),
    "psutil": ("tensorflow-datasets", "horovod"),
    "pyarrow": ("datasets",),
    "pytz": ("pandas",),
    "python-dateutil": ("pandas", "matplotlib"),
    "pyyaml": ("transformers", "horovod", "datasets"),
    "scikit-learn": ("imbalanced-learn", "librosa", "mlxtend"),
    "scipy": ("scikit-learn", "scikit-image", "statsmodels", "librosa", "seaborn", "xgboost"),
    "tensorflow-hub": ("tensorflow-text",),
    "tensorflow-metadata": ("tensorflow-datasets",),
    "threadpoolctl": ("scikit-learn",),
    "tokenizers": ("transformers",),
    "tqdm": ("transformers", "tensorflow-datasets", "datasets", "nltk"),
}


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EVERY_ENVIRONMENT = words(
    """absl astunparse certifi charset_normalizer clang flatbuffers gast google grpc h5py idna
    keras markdown markupsafe ml_dtypes numpy opt_einsum packaging pasta pip requests setuptools
    six tensorboard tensorflow termcolor typing_extensions urllib3 werkzeug wheel wrapt"""
)
_ONLY_IN = {
    "2.15": words(
        """cachetools google_auth_oauthlib oauthlib pkg_resources pyasn1 requests_oauthlib rsa
        tensorflow_estimator"""
    ),
    "2.21": words("PIL markdown_it mdurl namex optree pygments rich tf_keras"),
}
# Gone from newer Pythons, yet part of those that environments are built with.
_OLD_STANDARD = frozenset({"asynchat", "asyncore", "distutils", "imp", "smtpd"})

NEWEST_SHARED_PYTHON = "3.11"
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?P<rest>.*)"
)
_CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([A-Za-z0-9.*+!_-]+)")


@dataclass(frozen=True)
class Requirement:
    """A package by its normalized name, with the clauses that its version must meet."""

    name: str
    clauses: tuple[tuple[str, str], ...] = ()
    field: str = "pip_packages"
    line: int = 0

    @property
    def text(self) -> str:
        return self.name + ",".join(operator + version for operator, version in self.clauses)

    def allows(self, version: str) -> bool:
        return all(_meets(version, operator, wanted) for operator, wanted in self.clauses)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements_in(
    lines: Iterable[str], field: str, python: str = NEWEST_SHARED_PYTHON
) -> Iterator[Requirement]:
    """Read requirement lines; options, addresses and lines for other systems are left out."""
    for line in logical_lines(lines):
        bare, _, marker = re.split(r"\s--", line.text, maxsplit=1)[0].partition(";")
        match = _REQUIREMENT.match(bare.strip())
        if match and takes_part(marker.strip(), [python]):
            clauses = tuple(_CLAUSE.findall(match["rest"]))
            yield Requirement(normalized(match["name"]), clauses, field, line.number)


def packages_bringing(module: str) -> tuple[str, ...]:
    """Name the packages that an import may come from, the usual one first."""
    root, _, rest = module.partition(".")
    if root == "google" and rest.split(".")[0] == "cloud":
        area = rest.split(".")[1] if "." in rest else "storage"
        return (f"google-cloud-{normalized(area)}",)
    return PACKAGES_OF.get(root, (normalized(root),))


def is_standard_library(module: str) -> bool:
    root = module.split(".")[0]
    return root in sys.stdlib_module_names or root in _OLD_STANDARD


def comes_with_framework(module: str, framework_version: str) -> bool:
    """Return whether the curated environment of a TensorFlow version brings an import."""
    if module.startswith("google.cloud"):
        return False
    root = module.split(".")[0]
    return root in _EVERY_ENVIRONMENT or root in _ONLY_IN.get(framework_version, frozenset())


def is_asked_for(module: str, requirements: Iterable[Requirement]) -> bool:
    """Return whether the requirements bring an import, themselves or by what they depend on."""
    names = {requirement.name for requirement in requirements}
    wanted = packages_bringing(module)
    return any(
        package in names or not names.isdisjoint(BROUGHT_BY.get(package, ())) for package in wanted
    )


def _numbers(version: str) -> list[int]:
    """Return the release numbers of a version, without zeros at the end."""
    numbers = [int(n) for n in re.findall(r"\d+", re.split(r"[^0-9.]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def _meets(version: str, operator: str, wanted: str) -> bool:
    have, want = _numbers(version), _numbers(wanted)
    if operator in ("==", "===", "!="):
        if wanted.endswith(".*"):
            shown = [int(n) for n in re.findall(r"\d+", wanted)]
            equal = (have + [0] * len(shown))[: len(shown)] == shown
        else:
            equal = have == want
        return equal != (operator == "!=")
    if operator == "~=":
        prefix = [int(n) for n in re.findall(r"\d+", wanted)][:-1]
        return have >= want and (have + [0] * len(prefix))[: len(prefix)] == prefix
    return {"<": have < want, "<=": have <= want, ">": have > want, ">=": have >= want}[operator]
