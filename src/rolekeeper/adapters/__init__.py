"""The world behind the ports: the service, the hardware, files, the clock, systemd, the journal."""
