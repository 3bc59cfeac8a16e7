"""What programs on this machine may reach of it: the settings of `sandbox.py` for each kind.

Nothing of the installation: the database, the secret key, the broker's socket, other teams' files
and environments are covered by an empty folder. A job and a model server, which load what strangers
made, may also read nothing but what they need. A run is its submitter's own program: it may read
and write what the server's user may, but not what other runs and the server itself are made of.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from glob import glob
from pathlib import Path

PROGRAM = Path(__file__).with_name("sandbox.py")
ROOT = Path(__file__).resolve().parents[2]
CODE = ("runner", "deploy/modelserver", "deploy/__init__.py")  # of ours, that model servers run
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix", "/proc", "/sys"),
    *("/etc/alternatives", "/etc/ca-certificates", "/etc/ssl", "/etc/pki", "/etc/ld.so.cache"),
    *("/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf"),
    *("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/localtime"),
    *("/etc/services", "/etc/protocols", "/etc/mime.types", "/run/systemd/resolve"),
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/fd"),
)
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - threads of TensorFlow meet there
DEVICES = ("/dev/null", "/dev/zero", "/dev/tty", "/proc/self", SHARED_MEMORY)
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class Confinement:
    """What a program may reach. Paths that are not there are passed over.

    `hidden` folders are seen empty, but for what is `kept`, and what is `protected` may not be
    written. Where `readable` names anything, nothing else may be read, nothing but `writable`
    written, and of what is below `listable` only the names are seen. `limits` are names and values
    for setrlimit. What `is_required` does not start where the kernel has no means for it.
    """

    hidden: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    listable: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    without_network: bool = False
    dies_with_parent: bool = False
    is_required: bool = False

    def command(self, command: Iterable[str] = ()) -> list[str]:
        """Return a command that confines itself and then becomes what follows it."""
        settings = json.dumps(asdict(self))
        return [sys.executable, "-I", "-S", str(PROGRAM), settings, *command]


def of_job(
    home: Path, environment: Path, reads: Iterable[Path], writes: Iterable[Path]
) -> Confinement:
    """Return what a job may reach that loads a stranger's file: its own folders."""
    readable, writable = _texts(reads), _texts(writes)
    return Confinement(
        hidden=(str(home),),
        kept=(*readable, *writable),
        protected=_protected(environment),
        readable=(*SYSTEM, *_python_of(environment), str(environment.resolve()), *readable),
        writable=(*DEVICES, *writable),
        without_network=True,
        dies_with_parent=True,
        is_required=True,
    )


def of_model_server(home: Path, environment: Path, folder: Path, ca_bundle: str) -> Confinement:
    """Return what a model server and its runner may reach: the model, and no file beside it."""
    devices = (*DEVICES, *glob("/dev/nvidia*"), *glob("/dev/dri"))
    return Confinement(
        hidden=(str(home),),
        kept=(str(folder),),
        protected=_protected(environment, ca_bundle),
        listable=(str(ROOT),),  # for Python's imports
        readable=(
            *SYSTEM,
            *_python_of(environment),
            str(environment.resolve()),
            *_server_readable(ca_bundle),
        ),
        writable=(*devices, str(folder)),
        is_required=True,
    )


def of_run(home: Path, environment: Path, kept: Iterable[Path], ca_bundle: str) -> Confinement:
    """Return what a run may reach: all that this user may, but for the installation itself."""
    return Confinement(
        hidden=(str(home), str(uv_cache())),
        kept=_texts(kept),
        protected=_protected(environment, ca_bundle),
    )


def of_build(
    home: Path, environment: Path, writes: Iterable[Path], reads: Iterable[Path] = ()
) -> Confinement:
    """Return what the build of packages may reach, which runs their code: no other environment.

    It has the network, uv's cache and all that this user has outside the home.
    """
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "uv"
    uv_files = (uv_cache(), config, Path("~/.netrc").expanduser())
    return Confinement(
        hidden=(str(home),),
        kept=_texts((*writes, *uv_files)),
        protected=(*_server_files(), *_python_of(environment), *_texts(reads)),
        dies_with_parent=True,
    )


def of_look(home: Path, environment: Path, reads: Iterable[Path], scratch: Path) -> Confinement:
    """Return what may be reached by whatever asks an environment's own Python what it holds."""
    allowed = of_job(home, environment, reads, [scratch])
    # What is read is the server's own, and so protected: kept, it could be written.
    return replace(allowed, kept=(str(scratch),), is_required=False)


def of_recovery(home: Path, folder: Path, ca_bundle: str) -> Confinement:
    """Return what a runner may reach that ships what a dead one left: the folder of that one.

    All that lies there, the runner's own files too, was written by a program that is not trusted.
    """
    return Confinement(
        hidden=(str(home),),
        kept=(str(folder),),
        protected=_server_files(ca_bundle),
        listable=(str(ROOT),),
        readable=(*SYSTEM, *_server_readable(ca_bundle)),
        writable=(*DEVICES, str(folder)),
    )


def uv_cache() -> Path:
    """Return where uv keeps the packages that all environments are made of."""
    given = os.environ.get("UV_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(given) if given else Path(base).expanduser() / "uv"


def _protected(environment: Path, ca_bundle: str = "") -> tuple[str, ...]:
    """Return what nobody may write: what the server, and what an environment is made of."""
    return (*_server_files(ca_bundle), *_python_of(environment), str(environment))


def _server_files(ca_bundle: str = "") -> tuple[str, ...]:
    own = (str(ROOT), sys.prefix, *_unless_of_system(Path(sys.base_prefix)))
    return (*own, ca_bundle) if ca_bundle else own


def _server_readable(ca_bundle: str) -> tuple[str, ...]:
    """Return what a runner and a model server read of the server: code, Python, certificates."""
    certificates = [os.environ.get(name, "") for name in CERTIFICATE_VARIABLES]
    code = [str(ROOT / name) for name in CODE]
    own = [sys.prefix, sys.base_prefix, *code, *certificates, ca_bundle]
    return tuple(path for path in own if path)


def _python_of(environment: Path) -> tuple[str, ...]:
    """Return the installation of Python below a virtualenv, unless it is the system's.

    What builds packages may have had the link lead elsewhere, to where no Python is.
    """
    prefix = (environment / "bin" / "python").resolve().parent.parent
    return _unless_of_system(prefix) if any(prefix.glob("lib*/python3*/os.py")) else ()


def _unless_of_system(prefix: Path) -> tuple[str, ...]:
    return () if prefix in (Path("/usr"), Path("/")) else (str(prefix),)


def _texts(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(map(str, paths))
