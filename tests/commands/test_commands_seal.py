"""`seal` and `unseal` on the command line; what they do is tested in tests/vault, and on a real systemd."""

import pytest
from tests.conftest import Server


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("seal",), "seal-not-configured"),
        (("seal", "--rekey"), "seal-not-configured"),
    ],
)
def test_what_is_not_configured_is_not_sealed(server: Server, arguments: tuple[str, ...], code: str) -> None:
    ran = server.run(*arguments)
    assert (ran.code, f"[{code}]" in ran.err) == (77, True)
    assert 'set vault.seal to "host", "tpm2" or "host+tpm2"' in ran.err


def test_what_is_to_be_sealed_is_not_unsealed(server: Server) -> None:
    server.config.write_text(server.config.read_text().replace("[vault]\n", '[vault]\nseal = "tpm2"\n'))
    ran = server.run("unseal")
    assert (ran.code, "[seal-configured]" in ran.err) == (77, True)


@pytest.mark.parametrize("pcrs", ["24", "7,,8", "secret", "7+", "-1"])
def test_a_list_of_pcrs_that_is_none_is_refused(server: Server, pcrs: str) -> None:
    assert server.run("seal", f"--pcrs={pcrs}").code == 64


def test_a_recovery_key_is_for_a_new_key(server: Server) -> None:
    ran = server.run("seal", "--recovery-key", "/root/key")
    assert (ran.code, "--rekey" in ran.err) == (64, True)
