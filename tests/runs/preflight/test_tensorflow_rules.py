"""What the preflight refuses, what it doubts, and what it lets pass."""

from typing import Any

import pytest

from tests.runs.preflight.preflight_checks import ESTIMATOR, codes_of, findings_of

MWMS_FIT = """
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse")
model.fit([[1.0]], [[2.0]])
"""
KERAS_FIT = MWMS_FIT.replace("import tensorflow as tf", "import tensorflow as tf\nimport keras")
PS_FIT = MWMS_FIT.replace("MultiWorkerMirroredStrategy()", "ParameterServerStrategy(None)")


REFUSED = [
    pytest.param(ESTIMATOR, {}, "estimator-ended", 2, id="tf.estimator"),
    pytest.param(
        "from tensorflow import estimator as e\nx = e.LinearClassifier()",
        {},
        "estimator-ended",
        1,
        id="from tensorflow import estimator",
    ),
    pytest.param(
        "import tensorflow.compat.v1 as tf\n\nx = tf.estimator.Estimator",
        {},
        "estimator-ended",
        3,
        id="estimator below compat.v1",
    ),
    pytest.param(
        "import tensorflow as tf\ne = tf\n\nx = e.estimator.RunConfig()",
        {},
        "estimator-ended",
        4,
        id="estimator by an assigned alias",
    ),
    pytest.param(
        "import tensorflow.compat.v2 as tf\nx = tf.estimator.RunConfig()",
        {},
        "estimator-ended",
        2,
        id="estimator below compat.v2",
    ),
    pytest.param(
        MWMS_FIT,
        {"mode": "multi_worker", "environment_variables": {"TF_USE_LEGACY_KERAS": "0"}},
        "keras-3-fit",
        7,
        id="Keras 3's fit on several workers, by the variable",
    ),
    pytest.param(
        PS_FIT,
        {
            "mode": "parameter_server",
            "chief": True,
            "environment_variables": {"TF_USE_LEGACY_KERAS": ""},
        },
        "keras-3-fit",
        7,
        id="Keras 3's fit with parameter servers, by an empty variable",
    ),
    pytest.param(
        KERAS_FIT,
        {"mode": "multi_worker"},
        "keras-3-fit",
        3,
        id="Keras 3's fit on several workers, by import keras",
    ),
    pytest.param(
        "import horovod.tensorflow as hvd\nhvd.init()",
        {"mode": "mpi", "pip_packages": ["horovod"]},
        "horovod-version",
        1,
        id="horovod on 2.21",
    ),
    pytest.param(
        "print(1)",
        {"requirements": "# packages\ntensorflow==2.15.0\n"},
        "tensorflow-pin",
        2,
        id="another TensorFlow pinned in the requirements file",
    ),
    pytest.param(
        "print(1)",
        {"pip_packages": ["tensorflow-gpu<2.16"]},
        "tensorflow-pin",
        1,
        id="an older TensorFlow asked for in pip_packages",
    ),
    pytest.param(
        "print(1)",
        {"pip_packages": ["tensorflow~=2.16.0"], "framework_version": "2.15"},
        "tensorflow-pin",
        1,
        id="a newer TensorFlow asked for on 2.15",
    ),
    pytest.param(
        "print(1)",
        {"pip_packages": ["tf_nightly"]},
        "tensorflow-pin",
        1,
        id="a nightly TensorFlow",
    ),
    pytest.param(
        "print(1)",
        {"pip_packages": ["keras>=3"], "framework_version": "2.15"},
        "keras-pin",
        1,
        id="Keras 3 beside TensorFlow 2.15",
    ),
    pytest.param("x = 1\nprint('a'\n", {}, "unreadable", 2, id="a syntax error"),
    pytest.param("print 'a'\n", {}, "unreadable", 1, id="Python 2"),
    pytest.param(b"x = 1\ny = \x00\n", {}, "unreadable", 2, id="null bytes"),
    pytest.param("é = 1\n".encode("utf-16"), {}, "unreadable", 1, id="UTF-16"),
    pytest.param("# é\nx = 1".encode("latin-1"), {}, "unreadable", None, id="latin-1 undeclared"),
    pytest.param("", {}, "unreadable", 0, id="an empty script"),
    pytest.param("\n# to do\n", {}, "unreadable", 0, id="a script of comments only"),
    pytest.param("x", {"entry_script": "tarin.py"}, "entry-missing", 0, id="no such script"),
    pytest.param("x", {"entry_script": "../train.py"}, "entry-outside", 0, id="outside the tree"),
    pytest.param("x", {"entry_script": "/train.py"}, "entry-outside", 0, id="an absolute path"),
    pytest.param(
        {"run.sh": "echo", "train.py": ""},
        {"entry_script": "run.sh"},
        "entry-not-python",
        0,
        id="a shell script",
    ),
]


@pytest.mark.parametrize(("script", "config", "code", "line"), REFUSED)
def test_what_is_known_to_fail_is_refused_with_its_line_and_a_way_out(
    script: Any, config: dict[str, Any], code: str, line: int | None
) -> None:
    refusals = [f for f in findings_of(script, **config) if f.level == "refuse"]
    assert [finding.code for finding in refusals] == [code]
    (finding,) = refusals
    assert line is None or finding.line == line
    assert finding.field
    assert finding.message.endswith(".")
    assert finding.remedy


WARNED = [
    pytest.param(MWMS_FIT, {}, "strategy-in-single-mode", id="a distributed script run alone"),
    pytest.param("print(1)", {"mode": "multi_worker"}, "no-strategy", id="workers that ignore"),
    pytest.param(
        "print(1)", {"mode": "parameter_server"}, "no-parameter-servers", id="unused servers"
    ),
    pytest.param("print(1)", {"mode": "mpi"}, "mpi-without-communication", id="mpi unused"),
    pytest.param(
        "import horovod",
        {"mode": "mpi", "framework_version": "2.15", "pip_packages": ["horovod"]},
        "horovod-alone",
        id="horovod alone",
    ),
    pytest.param(
        "import horovod.tensorflow as hvd",
        {"framework_version": "2.15", "pip_packages": ["horovod"]},
        "horovod-without-mpi",
        id="horovod in single mode",
    ),
    pytest.param("import tensorflow as tf\ntf.contrib.slim.x", {}, "tensorflow-1", id="tf.contrib"),
    pytest.param(
        "import tensorflow as tf\nwith tf.Session() as s: pass",
        {},
        "tensorflow-1",
        id="tf.Session",
    ),
    pytest.param(
        "import tensorflow as tf\ntf.train.AdamOptimizer(1)",
        {},
        "tensorflow-1",
        id="an optimizer of TensorFlow 1",
    ),
    pytest.param(
        "from tensorflow.examples.tutorials.mnist import input_data",
        {},
        "tensorflow-1",
        id="the old tutorials' data",
    ),
    pytest.param(
        "import tensorflow as tf\nmodel = tf.keras.Sequential()\nmodel.save('outputs/m')",
        {},
        "keras-3-save",
        id="Keras 3 saving a folder",
    ),
    pytest.param(
        "import tensorflow",
        {"mode": "multi_worker", "pip_packages": ["keras>=3"]},
        "keras-pin",
        id="a pinned Keras 3 that tf.keras is not",
    ),
    pytest.param(
        "print(1)", {"pip_packages": ["tensorflow==2.21.5"]}, "tensorflow-patch", id="a patch"
    ),
    pytest.param(
        "print(1)",
        {"pip_packages": ["tensorflow-cpu"], "use_gpu": True},
        "cpu-package",
        id="CPU package with use_gpu",
    ),
]


@pytest.mark.parametrize(("script", "config", "code"), WARNED)
def test_a_doubt_only_warns(script: str, config: dict[str, Any], code: str) -> None:
    assert ("warn", code) in codes_of(script, **config)
    assert not [f for f in findings_of(script, **config) if f.level == "refuse"]


MISSING = [
    ("import cv2", "opencv-python-headless"),
    ("import sklearn.datasets", "scikit-learn"),
    ("from PIL import Image", "pillow"),
    ("import yaml", "pyyaml"),
    ("import tensorflow_datasets as tfds", "tensorflow-datasets"),
    ("from google.cloud import storage", "google-cloud-storage"),
    ("from azureml.core import Run", "azureml-core"),
    ("def later():\n    import pandas", "pandas"),
]


@pytest.mark.parametrize(("script", "package"), MISSING)
def test_an_import_that_nothing_brings_is_named_with_its_package(script: str, package: str) -> None:
    (finding,) = findings_of(script, framework_version="2.15")
    assert (finding.level, finding.code, finding.field) == (
        "warn",
        "package-missing",
        "pip_packages",
    )
    assert f"Add {package} " in finding.remedy


FINE = [
    pytest.param("import tensorflow as tf\ntf.config.list_physical_devices()", {}, id="tf.config"),
    pytest.param(
        "import json, os\nimport tensorflow as tf\n"
        "tf.train.ClusterSpec(json.loads(os.environ['TF_CONFIG'])['cluster'])",
        {"mode": "parameter_server"},
        id="TF_CONFIG by hand",
    ),
    pytest.param(ESTIMATOR, {"framework_version": "2.15"}, id="tf.estimator on 2.15"),
    pytest.param(
        ESTIMATOR,
        {"framework_version": "2.15", "mode": "parameter_server", "chief": True},
        id="tf.estimator with a chief and parameter servers on 2.15",
    ),
    pytest.param(MWMS_FIT, {"mode": "multi_worker"}, id="fit on several workers by default"),
    pytest.param(
        MWMS_FIT,
        {"mode": "multi_worker", "environment_variables": {"TF_USE_LEGACY_KERAS": "True"}},
        id="fit on several workers with TF_USE_LEGACY_KERAS=True",
    ),
    pytest.param(
        KERAS_FIT,
        {"mode": "multi_worker", "framework_version": "2.15"},
        id="keras imported directly on 2.15",
    ),
    pytest.param(
        MWMS_FIT.replace("import tensorflow as tf", "import tensorflow as tf, tf_keras as keras"),
        {"mode": "multi_worker"},
        id="tf_keras by the name of keras",
    ),
    pytest.param(
        MWMS_FIT.replace("model.fit([[1.0]], [[2.0]])", "strategy.run(print)"),
        {"mode": "multi_worker", "environment_variables": {"TF_USE_LEGACY_KERAS": "0"}},
        id="Keras 3 in a loop of one's own",
    ),
    pytest.param(
        "import tensorflow as tf\nfrom sklearn.preprocessing import StandardScaler\n"
        "tf.distribute.MultiWorkerMirroredStrategy()\nscaler = StandardScaler()\n"
        "scaler.fit([[1]])\nStandardScaler().fit([[1]])",
        {
            "mode": "multi_worker",
            "environment_variables": {"TF_USE_LEGACY_KERAS": "0"},
            "pip_packages": ["scikit-learn"],
        },
        id="another library's fit",
    ),
    pytest.param(
        "import tensorflow.compat.v1 as tf\ntf.disable_v2_behavior()\ntf.Session()",
        {},
        id="TensorFlow 1 by compat.v1",
    ),
    pytest.param(
        "import tensorflow as tf\nm = tf.keras.Sequential()\nm.save('outputs/m.keras')",
        {},
        id="Keras 3's own file",
    ),
    pytest.param("import keras, numpy as np\nnp.save('outputs/data', [1])", {}, id="NumPy's save"),
    pytest.param(
        "import tensorflow as tf\ntf.saved_model.save(None, 'outputs/m')\nx = tf.keras",
        {},
        id="tf.saved_model.save",
    ),
    pytest.param(
        "print(1)",
        {"requirements": "tensorflow>=2.16,<3\nkeras>=3\n-r more.txt\n\n# none\n"},
        id="requirements that the environment meets",
    ),
    pytest.param("print(1)", {"pip_packages": ["tensorflow[and-cuda]==2.21.*"]}, id="2.21.*"),
    pytest.param(
        "import scipy, sklearn, joblib", {"requirements": "Scikit_Learn>=1 # x"}, id="brought along"
    ),
    pytest.param("import cv2", {"pip_packages": ["opencv-python==4.9"]}, id="another cv2"),
    pytest.param("try:\n    import wandb\nexcept ImportError:\n    wandb = None", {}, id="guarded"),
    pytest.param(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas", {}, id="types"
    ),
    pytest.param("import numpy, grpc, google.protobuf, h5py, absl.flags", {}, id="dependencies"),
    pytest.param("import distutils.util, imp", {}, id="gone from newer Pythons"),
    pytest.param(b"\xef\xbb\xbfx = 1\r\nprint(x)\r\n", {}, id="BOM and CRLF"),
    pytest.param(
        "# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"), {}, id="latin-1 declared"
    ),
    pytest.param("x = '\\d'\n", {}, id="an invalid escape, of which Python only warns"),
    pytest.param("x", {"entry_script": "./train.py"}, id="a path with a dot"),
]


@pytest.mark.parametrize(("script", "config"), FINE)
def test_what_works_passes_without_a_word(script: str | bytes, config: dict[str, Any]) -> None:
    assert findings_of(script, **config) == []


def test_a_missing_entry_script_is_answered_with_the_likely_one() -> None:
    files = {"src/train.py": "x", "tools/make.py": "x"}
    (finding,) = findings_of(files)
    assert finding.remedy.startswith("Choose one of: src/train.py")


def test_a_notebook_is_answered_with_how_to_convert_it() -> None:
    (finding,) = findings_of({"a.ipynb": "{}"}, entry_script="a.ipynb")
    assert "nbconvert" in finding.remedy


def test_all_that_is_wrong_is_said_at_once_and_refusals_come_first() -> None:
    script = "import pandas\n" + ESTIMATOR
    found = codes_of(script, pip_packages=["tensorflow==2.10"], mode="multi_worker")
    assert found == [
        ("refuse", "estimator-ended"),
        ("refuse", "tensorflow-pin"),
        ("warn", "no-strategy"),
        ("warn", "package-missing"),
    ]


@pytest.mark.parametrize("module", ["mpi4py", "horovod.tensorflow"])
def test_what_an_mpi_environment_brings_need_not_be_asked_for(module: str) -> None:
    found = codes_of(f"import {module}", mode="mpi", framework_version="2.15")
    assert "package-missing" not in {code for _, code in found}
