"""virtvm list: the tests that a configuration comes to."""

import sys

from virtvm import signals
from virtvm.commands import complain, tell_unknown
from virtvm.companions.printable import printable
from virtvm.companions.secrets import masked


def add(commands):
    """Declare the command."""
    from virtvm.params import config
    parser = commands.add_parser("list", help="show the tests that a configuration comes to",
                                 description="Show the runs that files of variants and filters come to.")
    parser.add_argument("files", metavar="FILE", nargs="*", help="file with params, as --config")
    config.add_arguments(parser.add_argument)
    parser.add_argument("-v", "--verbose", action="store_true", help="with their params")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for machines")
    parser.add_argument("--count", action="store_true", help="only how many there are")
    parser.set_defaults(run=_run)


def _run(args):
    from virtvm.params import config
    args.virtvm_config = args.files + (args.virtvm_config or [])
    number = 0
    try:
        if not args.virtvm_config:
            return complain("which tests? name a file of variants")
        loaded = config.load(args, build=False)
        if loaded.variants is None:
            return complain("%s: has params, but no variants that could be listed" % ", ".join(args.virtvm_config))
        tell_unknown(loaded)
        for shortname, params in loaded.runs():
            number += 1
            if not args.count:
                _show(args, number, shortname, params)
    except config.ConfigError as e:
        return complain(e)
    except BrokenPipeError as e:
        signals.let_out(e)
        sys.stderr.close()              # the reader has seen enough
        return 0
    if args.count:
        print(number)
    return 0


def _show(args, number, shortname, params):
    params = masked(params)
    if args.json:
        import json
        print(json.dumps(params, sort_keys=True))
        return
    print("%5d  %s" % (number, printable(shortname)))
    if args.verbose:
        for key in sorted(params):
            if not key.startswith("_"):
                print("           %s = %s" % (printable(key), printable(params[key])))
