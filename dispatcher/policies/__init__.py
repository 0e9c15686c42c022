"""One small object each; dispatcher/pipeline.py puts them in order."""
