"""The configuration: schema, recipes, command line."""
