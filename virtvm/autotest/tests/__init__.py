"""What tests of autotest's are given and call: the test object, what is done around a test, helpers."""
