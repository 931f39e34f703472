"""The network guard of the tests, seen at work."""

import socket
import urllib.error
import urllib.request

import pytest


def test_a_connect_to_another_machine_fails_with_a_clear_message(loopback_only: list[str]) -> None:
    """An address outside loopback is refused before a packet leaves, and noted."""
    with socket.socket() as sock, pytest.raises(OSError, match=r"only talk to loopback, not to 192\.0\.2\.1:80"):
        sock.connect(("192.0.2.1", 80))
    assert loopback_only == ["192.0.2.1:80"]
    loopback_only.clear()


def test_a_name_of_the_outside_world_is_not_looked_up(loopback_only: list[str]) -> None:
    """A library that hides the error from the test cannot hide it from the guard."""
    with pytest.raises(urllib.error.URLError, match="only talk to loopback"):
        urllib.request.urlopen("http://example.com/", timeout=5)
    assert loopback_only == ["the name example.com"]
    loopback_only.clear()


def test_a_name_reserved_as_invalid_fails_as_it_would_anywhere() -> None:
    """`.invalid` never resolves, so tests of unreachable hosts can use it freely."""
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("gpu-1.invalid", 80)


def test_loopback_is_open() -> None:
    """A server on port 0 of 127.0.0.1 is reachable."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5):
        accepted, _ = server.accept()
        accepted.close()


def test_the_guard_fails_a_test_that_swallowed_the_error(pytester: pytest.Pytester, project_conftest: str) -> None:
    """A planted test that reaches out and catches everything is failed all the same."""
    pytester.makeconftest(project_conftest)
    pytester.makepyfile(
        """
        import socket

        def test_reaches_out():
            try:
                socket.create_connection(("192.0.2.1", 80), timeout=1)
            except OSError:
                pass
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*only talk to loopback; this one reached for 192.0.2.1:80*"])
