import pytest

from sharekeeper.errors import PeerUnreachable
from sharekeeper.exchange import host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.90.0.11:8090", "127.90.0.11"),
        ("https://node.example.org", "node.example.org"),
        ("http://[2001:db8::1]:80/path", "2001:db8::1"),
    ],
)
def test_the_host_of_a_participant_is_that_of_its_url(url, host):
    assert host_of(url) == host


@pytest.mark.parametrize("url", ["", "node:8090", "http://", "http://[::1", "//"])
def test_a_url_without_a_host_is_nobody_s_address(url):
    with pytest.raises(PeerUnreachable, match="correct it on the contract"):
        host_of(url)
