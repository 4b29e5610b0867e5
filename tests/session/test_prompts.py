"""Every case of the corpus, on a local terminal: the output and status that the command really had."""

import pytest
from support.prompt_corpus import cases, open_local, prepare_home, run_case

pytestmark = pytest.mark.once         # the C core with many outputs


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_corpus_case_is_right_every_time(case, tmp_path):
    prepare_home(str(tmp_path))
    run_case(case, lambda shell: open_local(shell, str(tmp_path)), str(tmp_path))
