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


def test_check_warns_of_a_vault_that_is_to_be_sealed_and_is_plain(server: Server) -> None:
    words = "vault.seal: the vault is not sealed\n  hint: `rolekeeper seal` seals it\n"
    assert "seal" not in server.run("check").err
    server.config.write_text(server.config.read_text().replace("[vault]\n", '[vault]\nseal = "tpm2"\n'))
    assert words not in server.run("check").err  # there is no vault yet
    directory = server.directory / "vault"
    directory.mkdir(mode=0o700)
    (directory / "vault.json").write_text('{"format": 1}')
    assert words in server.run("check").err
    (directory / "vault.json").write_text('{"format": 2, "sealed": {"key": "0123456789abcdef"}}')
    assert words not in server.run("check").err


@pytest.mark.parametrize("pcrs", ["", "24", "7,,8", "secret", "7+", "-1"])
def test_a_list_of_pcrs_that_is_none_is_refused(server: Server, pcrs: str) -> None:
    assert server.run("seal", f"--pcrs={pcrs}").code == 64


def test_a_recovery_key_is_for_a_new_key(server: Server) -> None:
    ran = server.run("seal", "--recovery-key", "/root/key")
    assert (ran.code, "--rekey" in ran.err) == (64, True)
