from autotest_lib.client.common_lib import error


def run_not_for_this_host(test, params, env):
    """
    Some tests do not apply.
    """
    if params.get("machine_type", "pc") <> "s390":
        raise error.TestNAError, "Only for s390"
