"""Requests and answers in another shape: who is changed, how, and within which bounds."""
