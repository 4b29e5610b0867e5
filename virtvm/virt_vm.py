"""Stands in for the extension module of that name, which comes first wherever it is built."""

from virtvm._unbuilt import refuse

refuse(__name__)
