"""Which addresses of engines are taken, and what is said of the others."""

import pytest

from workspace.targets.addresses import InvalidEngineAddress, parse_engine_address


@pytest.mark.parametrize(
    ("text", "address", "crosses"),
    [
        ("/run/docker.sock", "unix:///run/docker.sock", False),
        ("unix:///run/docker.sock", "unix:///run/docker.sock", False),
        (" tcp://gpu-1.lan:2376 ", "tcp://gpu-1.lan:2376", True),
        ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375", False),
        ("tcp://localhost:2375/", "tcp://localhost:2375", False),
        ("tcp://[::1]:2375", "tcp://[::1]:2375", False),
        ("tcp://[fd00::7]:2376", "tcp://[fd00::7]:2376", True),
        ("ssh://ops@gpu-1:2222", "ssh://ops@gpu-1:2222", False),
        ("ssh://gpu-1", "ssh://gpu-1", False),
    ],
)
def test_an_address_is_read_as_it_is_meant(text: str, address: str, crosses: bool) -> None:
    found = parse_engine_address(text)
    assert (str(found), found.crosses_a_network) == (address, crosses)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unix:///var/run/docker.sock"),
        ("docker.sock", "unix:///var/run/docker.sock"),
        ("unix://docker.sock", "whole path"),
        ("unix:///", "whole path"),
        ("tcp://gpu-1", "port is missing"),
        ("tcp://:2376", "host name is missing"),
        ("tcp://gpu 1:2376", "host name is missing"),
        ("tcp://gpu-1:99999", "Invalid address"),
        ("tcp://me@gpu-1:2376", "client certificate"),
        ("tcp://gpu-1:2376/v1.41", "follow"),
        ("https://gpu-1:2376", "tcp://"),
        ("npipe:////./pipe/docker", "ssh://USER@HOST"),
        ("ssh://me:secret@gpu-1", "Remove the password"),
        ("ssh://-oProxyCommand=x@gpu-1", "user"),
        ("ssh://-oProxyCommand=x", "host name is missing"),
        ("ssh://me@gpu-1;reboot", "host name is missing"),
    ],
)
def test_what_is_no_address_is_told_why(text: str, words: str) -> None:
    with pytest.raises(InvalidEngineAddress, match=words):
        parse_engine_address(text)
