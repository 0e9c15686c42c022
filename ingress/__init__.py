"""A request comes in over HTTP, passes the policies in order, and leaves as a message.

Its reply becomes the response.
"""
