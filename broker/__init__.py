"""The contract between the roles, and the carriers that fulfil it."""
