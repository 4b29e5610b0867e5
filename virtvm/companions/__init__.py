"""Collaborators of virt_vm, with the names autotest gave them."""
