"""What the operator says: typed models, the loader, and the YAML files that ship."""
