"""How a backend reaches its target, as plain data: backends import no Django model."""

from dataclasses import dataclass, field

from workspace.compute.outbound import OutboundPolicy


@dataclass(frozen=True)
class ImageLogin:
    """Who may pull an image that not everybody may."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class TargetAccess:
    """An engine's address and credentials; `home` is TRAINYARD_HOME. Secrets stay out of `repr`.

    `installation` labels what is ours on an engine that several Trainyards may share.

    `server_url` and `ca_bundle`: where this server answers, as the supervisor sees it.
    `address`: unix:///path, tcp://host:port (with TLS where a certificate is given) or
    ssh://user@host. `nodes`: the names of those that may be used; empty for all.
    `shared_folder`: a path at which all of them have the same disk. `outbound`: where the address,
    and what the engine says of itself, may lead.
    """

    home: str
    installation: str = ""
    server_url: str = ""
    ca_bundle: str = ""
    address: str = ""
    tls_ca: str = ""
    tls_cert: str = field(default="", repr=False)
    tls_key: str = field(default="", repr=False)
    registry: str = ""
    registry_user: str = ""
    registry_password: str = field(default="", repr=False)
    base_image: str = ""
    gpu_base_image: str = ""
    nodes: tuple[str, ...] = ()
    shared_folder: str = ""
    outbound: OutboundPolicy = field(default_factory=OutboundPolicy)
