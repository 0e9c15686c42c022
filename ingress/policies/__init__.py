"""One small object each; ingress/pipeline.py puts them in order."""
