"""Where aexpect of 2011 and today's (1.8) contradict each other.

A session has the ways of its class's attribute `generation`.  Spawn, and with it each class of
virtvm.companions.aexpect, has 1.8's; those of virtvm.companions.aexpect_2011 have 2011's:
autotest_lib serves them, and virt_utils.remote_login makes them.  docs/aexpect.rst has the table.
"""


class Generation:
    """Ways of one aexpect.

    errors: what becomes of bytes that are no text where output is read, and in callbacks (an
    error handler's name).  after_close: what get_output() gives then.  auto_close: whether
    run_bg() and run_tail() end what they started, unless they are told.
    """

    def __init__(self, name, errors, after_close, auto_close):
        self.name, self.errors, self.after_close, self.auto_close = name, errors, after_close, auto_close

    def __repr__(self):
        return "<ways of aexpect %s>" % self.name


OF_2011 = Generation("2011", errors="backslashreplace", after_close="", auto_close=False)
OF_1_8 = Generation("1.8", errors="ignore", after_close=None, auto_close=True)
