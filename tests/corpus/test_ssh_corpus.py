"""Every case of the corpus over SSH.  (tests/session/test_prompts.py has it on a local terminal.)"""

import os
import tempfile

import pytest
from support.prompt_corpus import cases, open_remote, prepare_home, run_case
from support.sshd import Account, Sshd


@pytest.fixture(scope="module")
def remote():
    """A server with an account whose shells show the corpus's prompts."""
    account = Account()
    prepare_home(account.home)
    server = None
    try:
        server = Sshd("SetEnv LANG=C.UTF-8", account=account)
        yield server
    finally:
        if server is not None:
            server.stop()
        account.remove()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: an account of its own")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_corpus_case_is_right_over_ssh(case, remote):
    with tempfile.TemporaryDirectory(dir=remote.account.home) as folder:
        os.chmod(folder, 0o755)         # for the account to read
        run_case(case, lambda shell: open_remote(shell, remote), folder)
