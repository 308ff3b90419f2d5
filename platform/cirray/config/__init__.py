"""The configuration: sections by owner, the configuration of each command, recipes, command line."""
