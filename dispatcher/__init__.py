"""A message is taken by its turn, and one upstream call is made well.

The reply goes home, the message is settled.
"""
