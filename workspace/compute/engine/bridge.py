"""Where containers of an engine find the machine that they run on: its default bridge's address."""

import fcntl
import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

DEFAULT_BRIDGE = "docker0"
BRIDGE_OPTION = "com.docker.network.bridge.name"
ASK_FOR_ADDRESS = 0x8915  # SIOCGIFADDR of Linux
LONGEST_INTERFACE_NAME = 15


def address_of_bridge(network: Mapping[str, Any], *, is_here: bool) -> str:
    """Return the address of a bridge as an engine describes it, "" if it tells none.

    An engine names no gateway until it has been started a second time. The bridge of an engine on
    this machine then tells its address itself; elsewhere it has the first one of its subnet.
    """
    configured = (network.get("IPAM") or {}).get("Config") or []
    for each in configured:
        if each.get("Gateway"):
            return str(each["Gateway"])
    subnets = [ip_network(each["Subnet"], strict=False) for each in configured if "Subnet" in each]
    name = (network.get("Options") or {}).get(BRIDGE_OPTION, DEFAULT_BRIDGE)
    own = address_of_interface(name) if is_here else ""
    if own and any(ip_address(own) in subnet for subnet in subnets):
        return own
    return next((str(subnet[1]) for subnet in subnets if isinstance(subnet, IPv4Network)), "")


def address_of_interface(name: str) -> str:
    """Return the IPv4 address of a network interface of this machine, "" if it has none."""
    asked = struct.pack("256s", name.encode()[:LONGEST_INTERFACE_NAME])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, ASK_FOR_ADDRESS, asked)
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])
