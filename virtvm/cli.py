"""The virtvm command."""

import argparse
import sys

from virtvm import __version__, completion
from virtvm.commands import check, complain, copy, interactive, params, run, seed
from virtvm.commands import list as list_command
from virtvm.companions.printable import printable


def _guest_build(args):
    from virtvm import guest
    from virtvm.companions.quoting import quote
    from virtvm.guest.full import FullGuest

    def log(line):
        if not args.quiet:
            print(printable(line), flush=True)

    try:
        built = guest.build(args.directory, password=args.password, offline=args.offline,
                            update=args.update, log=log, kind=FullGuest if args.full else guest.Guest)
    except guest.GuestBuildError as e:
        return complain(e, 1)
    log("kernel:  %s" % built.kernel)
    log("initrd:  %s" % built.initrd)
    log("disk:    %s" % built.disk)
    with_seed = " --cloud-init" if args.full else ""
    is_known = args.password == guest.PASSWORD      # by everybody
    log("login:   %s, %s" % (built.username, "by the key of --cloud-init" if args.full else
                             "password %s, on SSH and on ttyS0" % (args.password if is_known else "as given")))
    log("try it:  virtvm shell --guest %s%s" % (quote(args.directory), with_seed))
    return 0


def _add_guest(commands):
    guest = commands.add_parser("guest", help="guests: the small Linux guest for demos and tests, cloud images")
    actions = guest.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build it from distribution packages")
    build.add_argument("directory", metavar="DIR", help="folder that gets its parts")
    build.add_argument("--full", action="store_true",
                       help="one with systemd, OpenSSH and cloud-init, as a distribution's cloud image")
    build.add_argument("--password", default="virtvm", help="root's password in the guest (default: %(default)s)")
    build.add_argument("--offline", action="store_true", help="use packages of an earlier build only")
    build.add_argument("--update", action="store_true", help="build anew from the newest packages")
    build.add_argument("-q", "--quiet", action="store_true", help="say nothing unless it fails")
    build.set_defaults(run=_guest_build)
    seed.add(actions)


class _Version(argparse.Action):
    """--version: ours, and of what else matters when something fails."""

    def __call__(self, parser, namespace, values, option_string=None):
        import platform
        lines = ["virtvm %s" % __version__,
                 "%s %s" % (platform.python_implementation(), platform.python_version())]
        try:
            from virtvm import _session
            lines.append("libssh2 " + _session.libssh2_version)
        except ImportError as e:
            lines.append(str(e))
        try:
            from virtvm import _bundled
            lines.append("from Debian's sources, in this wheel: "
                         + ", ".join("%s %s" % item for item in sorted(_bundled.VERSIONS.items())))
        except ImportError:
            pass                    # the system's libraries
        print("\n".join(lines))
        parser.exit()


def _parser():
    parser = argparse.ArgumentParser(prog="virtvm", description="Test virtual machines.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print versions, and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (run.add, list_command.add, interactive.add, check.add, copy.add,
                params.add, _add_guest):
        add(commands)
    return parser


def main(argv=None):
    """Run the command line (default: this process's); return the exit status."""
    try:
        parser = _parser()
        completion.answer(parser)
        words, pytests = run.split(sys.argv[1:] if argv is None else list(argv))
        args = parser.parse_args(words)
        args.pytests = pytests
        return args.run(args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
