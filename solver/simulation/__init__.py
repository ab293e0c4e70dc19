"""Discrete-event simulation of a deployment: requests come when they come, and are as long as they are."""
