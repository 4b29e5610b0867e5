"""Hypervisors: subclasses of virt_vm.BaseVM."""
