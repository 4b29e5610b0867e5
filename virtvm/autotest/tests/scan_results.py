"""Reads the status file of an autotest run."""

_END = {"END GOOD", "END FAIL", "END ERROR", "END WARN", "END TEST_NA", "END ABORT", "END ALERT", "END RUNNING"}


def parse_results(text):
    """Tests in a status file's text (str): list of (name, status, seconds, info).

    Lines are fields with tabs between: START or END and a status, a folder, the test's
    name, timestamp=, localtime=, and words of its own.
    """
    found, started = [], []
    for line in text.splitlines():
        fields = line.strip().split("\t")
        if fields[0] == "START":
            started.append(_timestamp(fields))
        elif fields[0] in _END and started:
            seconds = _timestamp(fields) - started.pop()
            name = fields[1] if len(fields) > 1 else ""
            if name and name != "----":
                found.append((name[4:] if name.startswith("kvm.") else name, fields[0].split()[1], seconds,
                              fields[-1] if len(fields) > 5 else ""))
    return found


def _timestamp(fields):
    for field in fields:
        if field.startswith("timestamp="):
            return int(field[len("timestamp="):])
    return 0
