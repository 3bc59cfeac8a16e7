"""The launcher and the workers of an MPI run: mpirun here, sshd there.

Both are programs of their own below the runner, so that what they start ends as any program does.
Their keys lie in the folder of the process for as long as it is there, and nowhere else.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from runner import procfs
from runner.constants import NOT_FOUND, NOTE_PREFIX, exit_code_of
from runner.process_directory import ProcessDirectory, read_json, read_tail
from runner.termination import killed_by

LAUNCH, SERVE, RANK = "--launch", "--serve", "--rank"
FAILED = 1
LOOK_SECONDS = 0.05
CONNECT_SECONDS = 2.0
SIOCGIFADDR, SIOCGIFNETMASK = 0x8915, 0x891B
TAIL_BYTES = 64 * 1024
# What a rank says of its end, and what mpirun says where the rank could not.
NOTE = re.escape(NOTE_PREFIX).encode() + rb"((?:ended|was killed|cannot) [^\n,]*)$"
NOTED = re.compile(rb"^" + NOTE, re.M)
ENDED = re.compile(rb"^\[(rank \d+)\] " + NOTE, re.M)
ABORTED = re.compile(
    rb"^MPI_ABORT was invoked on rank (\d+) in communicator MPI_COMM_WORLD$.{0,200}?"
    rb"error ?code:? +(-?\d+)",
    re.M | re.S | re.I,
)
EXITED = re.compile(rb"Process name: \[[^\n]*,(\d+)\]\s+Exit code: +(\d+)")
SIGNALLED = re.compile(rb"process (rank \d+) with PID \d+ on node \S+ exited on signal (\d+)")
LOST = re.compile(rb"lost communication with .{0,400}?Remote daemon: +\S+ on node (\S+)", re.S)


def command_of(folder: ProcessDirectory, told: Mapping[str, Any]) -> list[str]:
    """Return the command of a launcher, or else of a worker, by what its process is told."""
    return _own_command(folder, LAUNCH if "ranks" in told else SERVE)


def mpirun_command(ranks: int, hostfile: str, command: Sequence[str]) -> list[str]:
    """Return the mpirun of Open MPI; threads of a rank may use all cores, as TensorFlow's do."""
    mapping = ["--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none"]
    return ["mpirun", "-np", str(ranks), "--hostfile", hostfile, *mapping, *command]


def launch(folder: ProcessDirectory) -> int:
    """Wait for the workers, run mpirun on them, and return its exit code.

    mpirun leaves ranks one second to end. To give them all the grace there is, they are told to end
    by a signal that mpirun only passes on.
    """
    told = (read_json(folder.spec) or {})["mpi"]
    if shutil.which("mpirun") is None:
        _say("mpirun is not installed here: on Debian, apt-get install openmpi-bin.")
        return NOT_FOUND
    missing = _await_workers(told["hosts"], time.monotonic() + told["start_seconds"])
    if missing:
        _say(missing)
        return FAILED
    hostfile = _write(folder, "hosts", _hosts(told))
    settings = _settings_alone(folder)
    if told["hosts"]:
        settings = _settings_across(_write_ssh(folder, told), told["hosts"][0]["address"])
    command = mpirun_command(told["ranks"], hostfile, _own_command(folder, RANK))
    child = _spawn(command, {**_common_settings(), **settings, **os.environ})
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, signal.SIGUSR1))
    return exit_code_of(os.waitpid(child, 0)[1])


def serve(folder: ProcessDirectory) -> int:
    """Let the launcher in, by its key only, until told to stop and nothing of it is left."""
    told = (read_json(folder.spec) or {})["mpi"]
    daemon = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if daemon is None:
        _say("sshd is not installed here: on Debian, apt-get install openssh-server.")
        return NOT_FOUND
    stop: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        stop.append(number)

    signal.signal(signal.SIGTERM, note)
    child = _spawn([daemon, "-D", "-e", "-f", _write_sshd(folder, told)], dict(os.environ))
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return exit_code_of(status)
        if stop and not _others_below_the_runner(child):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 0
        time.sleep(LOOK_SECONDS)


def _others_below_the_runner(daemon: int) -> bool:
    """Return whether anything is left of what the launcher started here."""
    left = {process.pid for process in procfs.descendants(os.getppid())}
    return not left <= {os.getpid(), daemon}


def mpi_failure_reason(folder: ProcessDirectory) -> str:
    """Name the rank at fault in the words that it and mpirun left, if they did.

    mpirun 4 may lose its own words on MPI_Abort (Open MPI's issue 8356), and the rank's last ones.
    """
    tail = read_tail(folder.spool, TAIL_BYTES)
    if found := ABORTED.search(tail):
        return f"rank {int(found[1])} ended with exit code {int(found[2]) & 0xFF}"
    if found := ENDED.search(tail):
        return f"{_text(found[1])} {_text(found[2])}"
    if said := _first_own_words(folder):
        return said
    if found := SIGNALLED.search(tail):
        return f"{_text(found[1])} {killed_by(int(found[2]))}"
    if found := EXITED.search(tail):
        return f"rank {int(found[1])} ended with exit code {int(found[2])}"
    if found := LOST.search(tail):
        return f"lost its connection to node {_text(found[1])}"
    return ""


def _first_own_words(folder: ProcessDirectory) -> str:
    """Return how the first rank on this node ended that was not told to, where its log says it."""
    if not os.path.isdir(folder.ranks):
        return ""
    logs = sorted(os.scandir(folder.ranks), key=lambda log: log.stat().st_mtime_ns)
    for log in logs:
        if found := NOTED.search(read_tail(log.path, TAIL_BYTES)):
            return f"rank {log.name.partition('.')[0]} {_text(found[1])}"
    return ""


def _own_command(folder: ProcessDirectory, option: str) -> list[str]:
    """Return the command that starts this program again, as something else than a runner."""
    return [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), folder.path, option]


def _hosts(told: Mapping[str, Any]) -> str:
    if not told["hosts"]:
        return f"localhost slots={told['ranks']}\n"
    return "".join(f"{host['name']} slots={host['slots']}\n" for host in told["hosts"])


def _settings_alone(folder: ProcessDirectory) -> dict[str, str]:
    """Keep all on this machine, and what is left of it in the folder."""
    return {
        "OMPI_MCA_btl_tcp_if_include": "lo",
        "OMPI_MCA_oob_tcp_if_include": "lo",
        "OMPI_MCA_btl_vader_backing_directory": folder.mpi,
        "OMPI_MCA_btl_sm_backing_directory": folder.mpi,
        "OMPI_MCA_orte_tmpdir_base": folder.mpi,
        "PRTE_MCA_prte_tmpdir_base": folder.mpi,
    }


def _settings_across(ssh_config: str, address: str) -> dict[str, str]:
    """Use the one network that all share: others may have the same addresses on every node."""
    network, agent = _network_towards(address), f"ssh -F {ssh_config}"
    return {
        "OMPI_MCA_btl_tcp_if_include": network,
        "OMPI_MCA_oob_tcp_if_include": network,
        "PRTE_MCA_prte_if_include": network,
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
        "OMPI_MCA_plm_rsh_agent": agent,
        "PRTE_MCA_plm_ssh_agent": agent,
        "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
        "PRTE_MCA_plm_ssh_no_tree_spawn": "1",
    }


def _common_settings() -> dict[str, str]:
    """Return what holds everywhere; Open MPI 4 and 5 overlook each other's settings."""
    given = {
        "OMPI_MCA_btl": "^openib",
        "OMPI_MCA_pml": "ob1",
        "OMPI_MCA_btl_base_warn_component_unused": "0",
    }
    if os.geteuid() == 0:
        for maker in ("OMPI", "PRTE"):
            given |= {f"{maker}_ALLOW_RUN_AS_ROOT{more}": "1" for more in ("", "_CONFIRM")}
    return given


def _write_ssh(folder: ProcessDirectory, told: Mapping[str, Any]) -> str:
    """Write what ssh needs to reach each worker, and to know it; gives the configuration's path."""
    known, places = [], []
    for host in told["hosts"]:
        name, _, port = host["address"].rpartition(":")
        known.append(f"[{name}]:{port} {host['host_key']}\n")
        places.append(f"Host {host['name']}\n  HostName {name}\n  Port {port}\n")
    common = {
        "IdentityFile": _write(folder, "key", told["key"]),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": _write(folder, "known_hosts", "".join(known)),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "20",
        "LogLevel": "ERROR",
    }
    lines = "".join(f"  {name} {value}\n" for name, value in common.items())
    return _write(folder, "ssh_config", f"{''.join(places)}Host *\n{lines}")


def _write_sshd(folder: ProcessDirectory, told: Mapping[str, Any]) -> str:
    """Write what sshd needs as an ordinary user; gives the configuration's path."""
    settings = {
        "Port": told["address"].rpartition(":")[2],
        "HostKey": _write(folder, "host_key", told["host_key"]),
        "AuthorizedKeysFile": _write(folder, "authorized", f"restrict {told['client_key']}\n"),
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "DisableForwarding": "yes",
        "UsePAM": "no",
        "PidFile": "none",
        "PrintMotd": "no",
        "PrintLastLog": "no",
        "MaxStartups": "1000",
        "LogLevel": "ERROR",
    }
    return _write(folder, "sshd_config", "".join(f"{k} {v}\n" for k, v in settings.items()))


def _write(folder: ProcessDirectory, name: str, content: str) -> str:
    os.makedirs(folder.mpi, mode=0o700, exist_ok=True)
    path = os.path.join(folder.mpi, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
    return path


def _await_workers(hosts: Sequence[Mapping[str, Any]], deadline: float) -> str:
    """Wait until every worker lets connections in; gives what is wrong if one never does."""
    for host in hosts:
        name, _, port = host["address"].rpartition(":")
        while True:
            try:
                _greet(name, int(port))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    return f"{host['name']} does not answer at {host['address']}: {error}"
            time.sleep(LOOK_SECONDS)
    return ""


def _greet(name: str, port: int) -> None:
    """Meet an sshd, politely enough to leave no complaint in its log. Raises OSError."""
    with socket.create_connection((name, port), CONNECT_SECONDS) as met:
        if not met.recv(64):
            raise ConnectionResetError("it closed the connection")
        met.sendall(b"SSH-2.0-Trainyard\r\n")


def _network_towards(address: str) -> str:
    """Return the network, as address/bits, through which this machine reaches an address."""
    name, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect((name, int(port)))
        own = socket.inet_aton(asked.getsockname()[0])
        for _, interface in socket.if_nameindex():
            wanted = struct.pack("256s", interface.encode())
            try:
                if fcntl.ioctl(asked, SIOCGIFADDR, wanted)[20:24] == own:
                    mask = fcntl.ioctl(asked, SIOCGIFNETMASK, wanted)[20:24]
                    bits = bin(int.from_bytes(mask, "big")).count("1")
                    return f"{socket.inet_ntoa(own)}/{bits}"
            except OSError:  # an interface without an address
                continue
    return f"{socket.inet_ntoa(own)}/32"


def _spawn(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Start a program in a process group of its own, so that only we pass signals to it."""
    return os.posix_spawnp(command[0], list(command), variables, setpgroup=0)


def _text(words: bytes) -> str:
    return words.decode("utf-8", "replace")


def _say(text: str) -> None:
    sys.stderr.write(f"{NOTE_PREFIX}{text}\n")
    sys.stderr.flush()
