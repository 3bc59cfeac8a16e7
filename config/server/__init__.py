"""What `make run` does: install, start the parts as processes, watch them, stop them.

In: the command line and settings. Out: running web, supervisor, worker and broker processes.
Imports: config, deploy.gateway, runs.source and workspace; `install`: nothing.
"""
