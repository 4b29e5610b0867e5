"""The folder in which a user's processes share state."""

import os
import stat

from virtvm import signals

_FOLDER, _SESSION = "/tmp/virtvm-%d", "/run/user/%d"        # of a user by number; the second by the system


def state_dir():
    """Return the user's own folder for shared state, made if need be (str).

    $VIRTVM_STATE_DIR, or /tmp/virtvm-UID; where somebody else has made that first, `virtvm` in the user's
    /run/user/UID, if there is one.  All processes of the user find the same, whatever their environment.
    Raises PermissionError if it is not a folder that this user alone can write to: others could have put
    links or files into it.
    """
    chosen = os.environ.get("VIRTVM_STATE_DIR")
    places = [chosen] if chosen else [_FOLDER % os.geteuid(), *_of_session()]
    for path in places:
        try:
            signals.makedirs(path, mode=0o700)
        except FileExistsError as e:
            signals.let_out(e)
        if _is_own(path):
            return path
    raise PermissionError("%s is not a folder that only this user can write to; "
                          "set VIRTVM_STATE_DIR to one that is" % places[0])


def _of_session():
    """A path in the folder that the system keeps for the user, if it does."""
    folder = _SESSION % os.geteuid()
    return [os.path.join(folder, "virtvm")] if signals.isdir(folder) and _is_own(folder) else []


def _is_own(path):
    seen = os.lstat(path)
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & 0o022
