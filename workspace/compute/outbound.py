"""The way out to addresses that people give: resolved once, checked, and only then connected to."""

import ipaddress
import socket
from dataclasses import dataclass

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Not all that `is_private` means: the ranges of documentation lead nowhere and hide nothing.
INNER_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/127",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")


class ForbiddenAddress(OSError):
    """The address may not be connected to. The text is the same for all, and tells no more."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} leads to this server or to a private network. Ask the installation's admin to"
            " add the target, or to list the network in TRAINYARD_ALLOWED_ENGINE_NETWORKS."
        )


@dataclass(frozen=True)
class OutboundPolicy:
    """Which addresses may be connected to: any, or where `is_restricted`, those of others.

    A restricted way never leads to this machine, and to private networks only where
    `allowed_networks` names them.
    """

    is_restricted: bool = False
    allowed_networks: tuple[str, ...] = ()

    @property
    def tells_causes(self) -> bool:
        """Return whether errors may say why a connection failed: not of what is inside."""
        return not (self.is_restricted and self.allowed_networks)

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, all of them checked. Raises OSError."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if any(self._forbids(address) for address in addresses):
            raise ForbiddenAddress(host)
        return addresses

    def connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        """Connect to one of the addresses that were checked. Raises OSError."""
        failure = OSError(f"{host} has no address")
        for address in self.resolve(host, port):
            try:
                return socket.create_connection((address, port), timeout)
            except OSError as error:
                failure = error
        raise failure

    def _forbids(self, address: str) -> bool:
        if not self.is_restricted:
            return False
        ip = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
        if ip.is_loopback or ip.is_unspecified or is_own_address(str(ip)):
            return True
        return _is_in(ip, INNER_NETWORKS) and not _is_in(
            ip, tuple(ipaddress.ip_network(network) for network in self.allowed_networks)
        )


def is_ip_address(host: str) -> bool:
    """Return whether a host is an address itself, and no name that is to be resolved."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_own_address(address: str) -> bool:
    """Return whether an IP address is one of this machine: only those can be listened on."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _is_in(
    ip: IpAddress, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
) -> bool:
    return any(ip in network for network in networks)


def _unwrapped(ip: IpAddress) -> IpAddress:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    wrapped = ip.ipv4_mapped or ip.sixtofour
    if wrapped is None and (ip in NAT64 or (ip in IPV4_COMPATIBLE and int(ip) > 1)):
        wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return wrapped or ip
