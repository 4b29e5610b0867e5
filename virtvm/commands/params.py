"""virtvm params: what params there are, and what each means."""

from virtvm.commands import complain


def add(commands):
    """Declare the command."""
    parser = commands.add_parser("params", help="say what params there are, and what they mean",
                                 description="Say what params there are; of one, all that is known of it.")
    parser.add_argument("words", metavar="WORD", nargs="*", help="a param, or what its name or meaning has in it")
    parser.set_defaults(run=_run)


def _run(args):
    from virtvm.params import reference, table
    found = table.search(args.words) if args.words else list(table.TABLE.values())
    if not found:
        near = table.nearest(args.words[0])
        return complain("no param has %s in it%s" % (
            " and ".join(args.words), ": did you mean %s?" % near if near else ""), 1)
    lines = reference.details(found[0]) if len(found) == 1 else reference.summary(found)
    print("\n".join(lines))
    return 0
