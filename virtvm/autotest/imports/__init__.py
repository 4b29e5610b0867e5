"""What `import autotest_lib...` gets, and files of tests: found, loaded and looked through.

names.py says which module of ours stands for which of autotest's, tree.py knows the user's own autotest
tree, finder.py serves both, loader.py loads a file of either Python.  discover.py tells tests by their
source, and checker.py what will not work in one.
"""
