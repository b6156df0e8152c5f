"""The Dockerfile frontend: from the text of a Dockerfile to the graph of steps that makes its image."""
