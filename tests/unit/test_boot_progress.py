"""What a run says while a guest boots."""

import logging

from virtvm.boot_progress import Progress
from virtvm.companions.exceptions import LoginError, LoginTimeoutError, diagnosed


def test_each_reason_is_told_once():
    told = []
    logger = logging.Logger("boot", logging.DEBUG)
    logger.addHandler(Progress("vm1", told.append))
    logger.debug("Attempting to log into '%s'", "vm1")
    for detail in ("no sign of life yet (10 s)", "no sign of life yet (20 s)", "nobody listens on port 22 (30 s)",
                   "no sign of life yet (3 s)", "\x1b]0;title\x07 (4 s)"):
        logger.debug(diagnosed(LoginTimeoutError(""), detail=detail))
    logger.debug(LoginError("Cannot connect", ""))
    assert told[:3] == ["vm1: no sign of life yet (10 s)", "vm1: nobody listens on port 22 (30 s)",
                        "vm1: no sign of life yet (3 s)"]
    assert len(told) == 4 and told[3].isprintable()
