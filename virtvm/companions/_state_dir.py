"""The folder in which a user's processes share state."""

import os
import stat


def state_dir():
    """Return the user's own folder for shared state, made if need be (str).

    $VIRTVM_STATE_DIR, or /tmp/virtvm-UID.  Raises PermissionError if it is
    not a folder that this user alone can write to: others could have put
    links or files into it.
    """
    path = os.environ.get("VIRTVM_STATE_DIR") or "/tmp/virtvm-%d" % os.geteuid()
    try:
        os.makedirs(path, mode=0o700)
    except FileExistsError:
        pass
    seen = os.lstat(path)
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
        raise PermissionError("%s is not a folder that only this user can write to; "
                              "set VIRTVM_STATE_DIR to one that is" % path)
    return path
