"""Tables in plain text."""


def matrix_to_string(matrix, header=None):
    """Return rows (lists of str) as a table with columns aligned to the left.

    header: a row above them.  Each line ends in a blank and a newline.
    """
    rows = ([header] if header else []) + [list(row) for row in matrix]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "".join(" ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " \n"
                   for row in rows)
