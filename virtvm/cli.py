"""The virtvm command."""

import argparse
import sys

from virtvm import __version__
from virtvm.commands import check, copy, interactive, run
from virtvm.commands import list as list_command


def _guest_build(args):
    from virtvm import guest

    def log(line):
        if not args.quiet:
            print(line, flush=True)

    try:
        built = guest.build(args.directory, password=args.password, offline=args.offline,
                            update=args.update, log=log)
    except guest.GuestBuildError as e:
        sys.exit("virtvm: %s" % e)
    log("kernel:  %s" % built.kernel)
    log("initrd:  %s" % built.initrd)
    log("disk:    %s" % built.disk)
    log("login:   %s, on SSH and on ttyS0" % built.username)
    return 0


def _add_guest(commands):
    guest = commands.add_parser("guest", help="the small Linux guest for demos and tests")
    actions = guest.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build it from distribution packages")
    build.add_argument("directory", metavar="DIR", help="folder that gets its parts")
    build.add_argument("--password", default="virtvm", help="root's password in the guest (default: %(default)s)")
    build.add_argument("--offline", action="store_true", help="use packages of an earlier build only")
    build.add_argument("--update", action="store_true", help="build anew from the newest packages")
    build.add_argument("-q", "--quiet", action="store_true", help="say nothing unless it fails")
    build.set_defaults(run=_guest_build)


def _parser():
    parser = argparse.ArgumentParser(prog="virtvm", description="Test virtual machines.")
    parser.add_argument("--version", action="version", version="virtvm " + __version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (run.add, list_command.add, interactive.add, check.add, copy.add, _add_guest):
        add(commands)
    return parser


def main(argv=None):
    """Run the command line (default: this process's); return the exit status."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
