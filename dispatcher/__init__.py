"""A message is taken by its turn, one upstream call is made well, the reply goes home, the message is settled."""
