"""Tables of many runs, each described by a YAML file: its jobs, how they are run, kept and shown."""
