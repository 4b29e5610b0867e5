"""What modules of this room need of those that import them: these put it here, when they are imported.

A file of a test runs only once all of them are there, since they had it run.
"""

compiler = None         # the module python2.translate: what exec and eval get may be Python 2, too
source_loader = None    # the class FileLoader of imports.loader, for Python 2's imp
finder = None           # the module imports.finder: what stands beside a file is its to find
