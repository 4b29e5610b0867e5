"""virtvm guest seed: the files that let somebody into a cloud image, for use elsewhere."""

import os

from virtvm import signals
from virtvm.commands import complain, file_name
from virtvm.companions.printable import printable


def add(actions):
    """Declare the action of `virtvm guest`."""
    seed = actions.add_parser("seed", help="write what cloud-init in a cloud image is to find",
                              description="Write user-data and meta-data for cloud-init's datasource NoCloud into a"
                                          " folder: for a small disk or CD with the label CIDATA.")
    seed.add_argument("directory", metavar="DIR", type=file_name, help="folder that gets the two files")
    seed.add_argument("--user", metavar="NAME", default="root",
                      help="who can log in: root (the default), or a user that is made, with sudo")
    seed.add_argument("--key", metavar="FILE", type=file_name,
                      help="a public key, or a private one (default: DIR.key, which is made if need be)")
    seed.set_defaults(run=_seed)


def _seed(args):
    from virtvm.guest import cloud_init
    folder = os.path.abspath(os.path.expanduser(args.directory))
    identity = args.key or folder + ".key"
    try:
        cloud_init.check_user(args.user)
        signals.makedirs(folder, exist_ok=True)
        if args.key is None and not signals.exists(identity):
            cloud_init.make_key(identity)
        content = cloud_init.files(args.user, cloud_init.public_key(identity),
                                   "virtvm-" + os.urandom(8).hex(), os.path.basename(folder))
        _write(folder, content)
    except cloud_init.SeedError as e:
        return complain(e, 1)
    except OSError as e:
        signals.let_out(e)
        return complain("%s: %s" % (e.filename or folder, e.strerror or e), 1)
    for name in content:
        print("%s: %s" % (name, printable(os.path.join(folder, name))))
    print("login:     %s, by the key %s" % (args.user, printable(identity)))
    return 0


def _write(folder, content):
    from virtvm.guest.commands import whole
    for name, data in content.items():
        with whole(os.path.join(folder, name)) as temporary, open(temporary, "wb") as f:
            f.write(data)
