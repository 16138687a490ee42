"""Trainers: actors that run a training program to its end, whatever is killed meanwhile."""
