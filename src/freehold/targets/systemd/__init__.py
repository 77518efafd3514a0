"""The stack as a service of the machine: units for systemd, and the word to it that all is well."""
