"""The values everybody shares: components, their states, events, effects, descriptions, errors.

Nothing here decides or does anything, and nothing here imports another room of the house.
"""
