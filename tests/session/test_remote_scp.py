"""remote_scp: scp's own questions, asked by the real program of a real server."""

import os
import shlex

import pytest
from support.waiting import LONG, due
from virtvm.companions import transfer
from virtvm.companions.exceptions import (
    SCPAuthenticationError, SCPAuthenticationTimeoutError, SCPError, SCPTransferFailedError, SCPTransferTimeoutError)


@pytest.fixture
def scp(sshd, tmp_path):
    """scp(passwords, target, ...) runs scp of a file into the account's home."""
    if not sshd.can_password:
        pytest.skip("passwords need an account of their own, which root alone can make")
    (tmp_path / "f").write_bytes(b"1" * 100000)
    options = ["UserKnownHostsFile=%s" % (tmp_path / "known"), "PreferredAuthentications=password",
               "StrictHostKeyChecking=ask", "NumberOfPasswordPrompts=3"]

    def run(passwords, target="f", source="f", **keywords):
        words = ["scp", "-P", str(sshd.port)] + [word for option in options for word in ("-o", option)]
        words += [str(tmp_path / source), "%s@%s:%s" % (sshd.user, sshd.host, target)]
        keywords.setdefault("login_timeout", LONG)
        transfer.remote_scp(shlex.join(words), passwords, **keywords)
    return run


def test_the_key_is_accepted_and_the_password_given(scp, sshd, tmp_path):
    scp([sshd.password], transfer_timeout=LONG)
    with open(os.path.join(sshd.account.home, "f"), "rb") as f:
        assert f.read() == b"1" * 100000
    assert (tmp_path / "known").exists()            # it was asked whether it is sure
    scp([sshd.password], transfer_timeout=LONG)     # and is so no more


def test_passwords_are_given_in_their_order(scp, sshd):
    scp(["wrong", sshd.password], transfer_timeout=LONG)


def test_a_password_too_few(scp):
    with pytest.raises(SCPAuthenticationError, match="Got password prompt twice"):
        scp(["wrong"], transfer_timeout=LONG)


def test_scp_that_fails_tells_its_status(scp, sshd):
    with pytest.raises(SCPTransferFailedError) as info:
        scp([sshd.password], target="no/such/folder/", transfer_timeout=LONG)
    assert info.value.status == 1 and "no/such/folder" in info.value.output


def test_the_times_that_it_may_take():
    with due(0.3), pytest.raises(SCPAuthenticationTimeoutError):
        transfer.remote_scp("sleep 1000", ["x"], login_timeout=0.3, transfer_timeout=LONG)
    with due(0.3), pytest.raises(SCPTransferTimeoutError):
        transfer.remote_scp("printf 'password: '; read x; echo; sleep 1000", ["x"], login_timeout=LONG,
                            transfer_timeout=0.3)


def test_a_connection_that_is_lost():
    with pytest.raises(SCPError, match="lost connection"):
        transfer.remote_scp("echo lost connection; sleep 1000", ["x"], login_timeout=LONG)
