"""Types of the custom objects in the Kubernetes manifests."""
