"""A request comes in over HTTP, passes the policies in order, and leaves as a message; its reply becomes the response."""
