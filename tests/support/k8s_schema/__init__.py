"""What custom objects of the deployment may hold."""
